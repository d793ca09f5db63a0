/*
 * A library for tests of the interface in codec/include/rtpengine_evs.h. It is no EVS codec: frames have the right sizes, but in them are
 * plain samples of 8 bits, as many as there is room for, with straight lines between them.
 *
 * A frame of speech: first octet 0x40 with the lowest bits counting frames, then the samples. A noise frame: first octet 0x20, then the
 * level. Built with -DWRONG_VERSION, -DWRONG_SIZE, -DNO_DECODER, -DREFUSES or -DWRONG_FRAMES it must not be taken.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rtpengine_evs.h"

#define MOST_SAMPLES 960
/* Below this peak, a frame is silence. */
#define SILENT 64
/* Frames between two descriptions of silence. */
#define SID_INTERVAL 8
#define NOISE_LEVEL 200

struct rtpengine_evs_encoder {
    uint32_t samples, dtx, frames, silent;
};

struct rtpengine_evs_decoder {
    uint32_t samples;
    int32_t last;     /* last sample */
    int32_t fading;   /* amplitude of what replaces lost frames */
    uint32_t noise;   /* state of a generator */
};

static const uint16_t primary_bits[12] = {56, 144, 160, 192, 264, 328, 488, 640, 960, 1280, 1920, 2560};
static const uint32_t primary_rates[12] = {5900, 7200, 8000, 9600, 13200, 16400, 24400, 32000, 48000, 64000, 96000, 128000};
static const uint16_t io_bits[9] = {132, 177, 253, 285, 317, 365, 397, 461, 477};
static const uint32_t io_rates[9] = {6600, 8850, 12650, 14250, 15850, 18250, 19850, 23050, 23850};

static int is_rate(uint32_t rate) {
    return rate == 8000 || rate == 16000 || rate == 32000 || rate == 48000;
}

static int32_t encoder_open(uint32_t rate, uint32_t dtx, struct rtpengine_evs_encoder **encoder) {
    struct rtpengine_evs_encoder *made = is_rate(rate) ? calloc(1, sizeof(*made)) : NULL;
    if (!made)
        return -1;
    made->samples = rate / 50;
    made->dtx = dtx;
    *encoder = made;
    return 0;
}

static int32_t encoder_encode(struct rtpengine_evs_encoder *encoder, const struct rtpengine_evs_request *request, const int16_t *samples,
                              struct rtpengine_evs_frame *frame) {
    const int io = request->mode == RTPENGINE_EVS_AMR_WB_IO;
    const uint32_t *rates = io ? io_rates : primary_rates;
    const uint16_t *bits = io ? io_bits : primary_bits;
    const unsigned modes = io ? 9 : 12;
    unsigned mode = 0, count, n;
    int32_t peak = 0;

    while (mode < modes && rates[mode] != request->bit_rate)
        mode++;
    if (mode == modes || (request->aware_offset && request->bit_rate != 13200))
        return -1;
    for (n = 0; n < encoder->samples; n++)
        if (abs(samples[n]) > peak)
            peak = abs(samples[n]);
    frame->mode = request->mode;
    frame->good = 1;
    if (encoder->dtx && peak < SILENT) {
        if (encoder->silent++ % SID_INTERVAL) {
            frame->type = RTPENGINE_EVS_NO_DATA;
            frame->bits = 0;
            return 0;
        }
        frame->type = io ? RTPENGINE_EVS_IO_SID : RTPENGINE_EVS_PRIMARY_SID;
        frame->bits = io ? 40 : 48;
        frame->data[0] = 0x20;
        frame->data[1] = NOISE_LEVEL;
        return 0;
    }
    encoder->silent = 0;
    if (!io && mode == 0)
        mode = 2; /* 5.9 kbit/s are what they are on the average */
    frame->type = mode;
#ifdef WRONG_FRAMES
    frame->type = mode ? mode - 1 : 1;
#endif
    frame->bits = bits[frame->type];
    count = frame->bits / 8 - 1;
    /* The channel-aware mode shows, so that a test can see it. */
    frame->data[0] = 0x40 | (request->aware_offset ? 0x10 : 0) | (encoder->frames++ & 15);
    for (n = 0; n < count; n++)
        frame->data[1 + n] = (uint8_t)(samples[(n + 1) * encoder->samples / count - 1] / 256);
    return 0;
}

static void encoder_close(struct rtpengine_evs_encoder *encoder) {
    free(encoder);
}

static int32_t decoder_open(uint32_t rate, struct rtpengine_evs_decoder **decoder) {
    struct rtpengine_evs_decoder *made = is_rate(rate) ? calloc(1, sizeof(*made)) : NULL;
    if (!made)
        return -1;
    made->samples = rate / 50;
    made->noise = 1;
    *decoder = made;
    return 0;
}

static int32_t decoder_decode(struct rtpengine_evs_decoder *decoder, const struct rtpengine_evs_frame *frame,
                              const struct rtpengine_evs_frame *later, uint32_t distance, int16_t *samples) {
    const uint32_t length = decoder->samples;
    const unsigned count = frame->bits / 8 > 1 ? frame->bits / 8 - 1 : 0;
    const int is_noise = frame->type == RTPENGINE_EVS_NO_DATA ||
                         frame->type == (frame->mode ? RTPENGINE_EVS_IO_SID : RTPENGINE_EVS_PRIMARY_SID);
    uint32_t n;

    if (later && (distance == 0 || frame->type != RTPENGINE_EVS_SPEECH_LOST))
        return -1;
    if (is_noise) {
        for (n = 0; n < length; n++) {
            decoder->noise = decoder->noise * 1664525u + 1013904223u;
            samples[n] = (int16_t)((int32_t)(decoder->noise >> 16) % (2 * NOISE_LEVEL) - NOISE_LEVEL);
        }
        decoder->last = 0;
        return 0;
    }
    if (!count || !frame->good) {
        /* Concealment can be told from everything else: a square wave that fades. */
        for (n = 0; n < length; n++)
            samples[n] = (int16_t)(n % 32 < 16 ? decoder->fading : -decoder->fading);
        decoder->fading /= 2;
        return 0;
    }
    for (n = 0; n < length; n++) {
        /* Sample k is that at the end of part k + 1. */
        const double position = (double)(n + 1) * count / length;
        const unsigned part = (unsigned)ceil(position) - 1;
        const int32_t right = (int8_t)frame->data[1 + (part < count ? part : count - 1)] * 256;
        const int32_t left = part ? (int8_t)frame->data[part] * 256 : decoder->last;
        samples[n] = (int16_t)(left + (right - left) * (position - part));
    }
    decoder->last = (int8_t)frame->data[count] * 256;
    decoder->fading = 4000;
    return 0;
}

static void decoder_close(struct rtpengine_evs_decoder *decoder) {
    free(decoder);
}

static const struct rtpengine_evs_plugin plugin = {
#ifdef WRONG_VERSION
    .abi_version = RTPENGINE_EVS_ABI_VERSION + 1,
#else
    .abi_version = RTPENGINE_EVS_ABI_VERSION,
#endif
#ifdef WRONG_SIZE
    .size = 16,
#else
    .size = sizeof(struct rtpengine_evs_plugin),
#endif
    .name = "EVS test plug-in (no EVS)",
    .licence = "GPL-3.0-or-later",
    .features = RTPENGINE_EVS_CHANNEL_AWARE | RTPENGINE_EVS_USES_LATER,
    .encoder_open = encoder_open,
    .encoder_encode = encoder_encode,
    .encoder_close = encoder_close,
    .decoder_open = decoder_open,
#ifndef NO_DECODER
    .decoder_decode = decoder_decode,
#endif
    .decoder_close = decoder_close,
};

const struct rtpengine_evs_plugin *rtpengine_evs_plugin_v1(void) {
#ifdef REFUSES
    return NULL;
#else
    return &plugin;
#endif
}

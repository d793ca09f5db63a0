/*
 * Interface between rtpengine and a library that codes EVS (3GPP TS 26.441 and following), version 1.
 *
 * rtpengine contains no EVS codec. An operator who has the right to use one builds a shared object that exports
 * rtpengine_evs_plugin_v1() and names it with --evs-lib-path. RTP payloads, format parameters, mode requests, packet times and silence
 * that is not sent are rtpengine's affair: the library turns 20 ms of samples into one frame of bits, and back. docs/evs-plugin.md explains
 * it and shows the outline of such a library.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Threads: any function may be called from any thread, and on different coders at the same time. One coder is used by one thread at a time,
 * but not always by the same one: nothing that a coder needs may be thread-local, and no two coders may share what they write. No call may
 * wait for anything, print, end the process, throw an exception or jump out. Only the open functions should allocate memory: encode and
 * decode run on threads that forward packets. 1 MiB of stack is there by default (thread-stack).
 *
 * Results: 0 is success, any negative number failure. What a failed call has written is ignored. A coder may be used on after a failed call.
 */
#ifndef RTPENGINE_EVS_H
#define RTPENGINE_EVS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RTPENGINE_EVS_ABI_VERSION 1u

/* Octets of the longest frame: 128 kbit/s. */
#define RTPENGINE_EVS_MAX_OCTETS 320

/* rtpengine_evs_frame.mode, rtpengine_evs_request.mode */
#define RTPENGINE_EVS_PRIMARY 0u
#define RTPENGINE_EVS_AMR_WB_IO 1u

/* rtpengine_evs_frame.type beside those of speech */
#define RTPENGINE_EVS_IO_SID 9u       /* in AMR-WB IO mode */
#define RTPENGINE_EVS_PRIMARY_SID 12u /* in primary mode */
#define RTPENGINE_EVS_SPEECH_LOST 14u /* 0 bits */
#define RTPENGINE_EVS_NO_DATA 15u     /* 0 bits */

/* rtpengine_evs_request.bandwidth */
#define RTPENGINE_EVS_NB 0u
#define RTPENGINE_EVS_WB 1u
#define RTPENGINE_EVS_SWB 2u
#define RTPENGINE_EVS_FB 3u

/* rtpengine_evs_plugin.features */
#define RTPENGINE_EVS_CHANNEL_AWARE 1u /* the encoder makes frames of the channel-aware mode */
#define RTPENGINE_EVS_USES_LATER 2u    /* the decoder takes partial copies out of later frames */

/* 20 ms of coded audio. */
struct rtpengine_evs_frame {
    uint8_t mode;     /* RTPENGINE_EVS_PRIMARY or RTPENGINE_EVS_AMR_WB_IO */
    uint8_t type;     /* the frame type index of 3GPP TS 26.445, tables A.4 (primary) and A.5 (AMR-WB IO), 0 to 15 */
    uint8_t good;     /* 1; 0 for an AMR-WB IO frame that was damaged on its way (Q bit of its table of contents) */
    uint8_t reserved; /* 0 */
    uint32_t bits;    /* how many bits the type has, see below */
    /* Bit d(0) is the most significant one of data[0], in the order of TS 26.445, clause 7 (primary), or TS 26.201, clause 4.2 (AMR-WB IO: the
     * order of the RTP payload of AMR-WB). Behind the last bit there are zeros up to the end of its octet. */
    uint8_t data[RTPENGINE_EVS_MAX_OCTETS];
};
/*
 * Bits of the types:
 *   primary:   0: 56 (2.8 kbit/s)  1: 144 (7.2)  2: 160 (8.0)  3: 192 (9.6)  4: 264 (13.2)  5: 328 (16.4)  6: 488 (24.4)  7: 640 (32)
 *              8: 960 (48)  9: 1280 (64)  10: 1920 (96)  11: 2560 (128)  12: 48 (SID)  14, 15: 0
 *   AMR-WB IO: 0: 132 (6.6 kbit/s)  1: 177 (8.85)  2: 253 (12.65)  3: 285 (14.25)  4: 317 (15.85)  5: 365 (18.25)  6: 397 (19.85)
 *              7: 461 (23.05)  8: 477 (23.85)  9: 40 (SID)  14, 15: 0
 */

/* What the next frame shall be. May differ from frame to frame. */
struct rtpengine_evs_request {
    uint32_t bit_rate;       /* in bit/s; primary: 5900 (variable: frames of 2.8, 7.2 and 8.0 kbit/s), 7200 ... 128000; AMR-WB IO: 6600 ... 23850 */
    uint8_t mode;            /* RTPENGINE_EVS_PRIMARY or RTPENGINE_EVS_AMR_WB_IO */
    uint8_t bandwidth;       /* most that is to be coded; never more than the sample rate allows, nor than the bit rate does */
    uint8_t aware_offset;    /* 2, 3, 5 or 7: channel-aware mode with this offset in frames (13200 bit/s, WB and SWB only); 0: not */
    uint8_t aware_indicator; /* 0: few errors expected (LO), 1: many (HI) */
};

struct rtpengine_evs_encoder; /* the library's own */
struct rtpengine_evs_decoder;

struct rtpengine_evs_plugin {
    uint32_t abi_version; /* RTPENGINE_EVS_ABI_VERSION */
    uint32_t size;        /* sizeof(struct rtpengine_evs_plugin) */
    const char *name;     /* what it is and its version, for log and --codecs-json; ASCII, not null */
    const char *licence;  /* SPDX expression or a few words; ASCII, not null */
    uint32_t features;    /* RTPENGINE_EVS_CHANNEL_AWARE | RTPENGINE_EVS_USES_LATER */
    uint32_t reserved;    /* 0 */

    /* A new encoder for mono samples of 8000, 16000, 32000 or 48000 Hz. dtx: 1 when silence is to be described by SID frames with NO_DATA
     * frames between them, at the codec's usual intervals; 0 when every frame is speech. */
    int32_t (*encoder_open)(uint32_t sample_rate, uint32_t dtx, struct rtpengine_evs_encoder **encoder);
    /* Codes sample_rate / 50 samples. Fills in mode, type, bits and data of *frame (all zeros before). */
    int32_t (*encoder_encode)(struct rtpengine_evs_encoder *encoder, const struct rtpengine_evs_request *request, const int16_t *samples,
                              struct rtpengine_evs_frame *frame);
    void (*encoder_close)(struct rtpengine_evs_encoder *encoder);

    /* A new decoder that gives mono samples of 8000, 16000, 32000 or 48000 Hz, whatever the bandwidth of the frames is. */
    int32_t (*decoder_open)(uint32_t sample_rate, struct rtpengine_evs_decoder **decoder);
    /*
     * Writes sample_rate / 50 samples for *frame. A frame of type SPEECH_LOST was lost: it is concealed. One of type NO_DATA was not sent:
     * comfort noise goes on. Mode and type change freely between frames, all bits may be wrong: frames come from the network.
     *
     * later is null, or (only for lost frames, and only with RTPENGINE_EVS_USES_LATER) the frame that follows distance frames behind the
     * lost one (1: directly behind it): when it carries a partial copy of the lost frame, that is better than concealment. It will be given
     * again as frame when its turn comes.
     */
    int32_t (*decoder_decode)(struct rtpengine_evs_decoder *decoder, const struct rtpengine_evs_frame *frame,
                              const struct rtpengine_evs_frame *later, uint32_t distance, int16_t *samples);
    void (*decoder_close)(struct rtpengine_evs_decoder *decoder);
};

/* The one symbol that the library exports: its table, which stays valid as long as the process lives. Null when the library cannot work
 * here. Called once, before all others. */
const struct rtpengine_evs_plugin *rtpengine_evs_plugin_v1(void);

#ifdef __cplusplus
}
#endif
#endif

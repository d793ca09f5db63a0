// A WebRTC party in a browser: the same commands as aiortc_peer.py takes, and `restart`. Sound is made and heard by Web Audio.
"use strict";
const LIMIT = 15000;
let audio, party;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, what) {
    const end = performance.now() + LIMIT;
    while (!condition()) {
        if (performance.now() > end) throw new Error(what());
        await pause(5);
    }
}

// All candidates in the description, so that the daemon is told them at once; unless it is to find out for itself.
async function described({trickle}) {
    const local = () => party.connection.localDescription.sdp;
    const complete = () => party.connection.iceGatheringState === "complete" && local().includes("a=candidate:");
    if (!trickle) await until(complete, () => "gathering does not end");
    return {sdp: local()};
}

function prefer() {
    const known = RTCRtpReceiver.getCapabilities("audio").codecs;
    const names = ["audio/" + party.codec.toLowerCase(), party.digits ? "audio/telephone-event" : ""];
    const wanted = known.filter((codec) => names.includes(codec.mimeType.toLowerCase()));
    const transceivers = party.connection.getTransceivers().filter(({receiver}) => receiver.track.kind === "audio");
    for (const transceiver of transceivers) transceiver.setCodecPreferences(wanted);
}

// The share of one frequency in the power of all (Goertzel).
function share(samples, hz, rate) {
    const coefficient = 2 * Math.cos((2 * Math.PI * hz) / rate);
    let last = 0, before = 0, total = 0;
    for (const sample of samples) {
        [last, before] = [sample + coefficient * last - before, last];
        total += sample * sample;
    }
    const power = last * last + before * before - coefficient * last * before;
    return total ? (2 * power) / (total * samples.length) : 0;
}

const operations = {
    async new({codec, digits}) {
        audio ||= new AudioContext({sampleRate: 48000});
        await audio.resume();
        const connection = new RTCPeerConnection({iceServers: []});
        const [tone, microphone, analyser] = [audio.createOscillator(), audio.createMediaStreamDestination(), audio.createAnalyser()];
        analyser.fftSize = 8192;
        tone.frequency.value = 880;
        tone.connect(microphone);
        tone.start();
        party = {connection, codec, digits, tone, analyser, begin: 0};
        connection.addTrack(microphone.stream.getAudioTracks()[0], microphone.stream);
        connection.ontrack = ({track}) => {
            if (track.kind !== "audio") return;
            const stream = new MediaStream([track]);
            // Web Audio hears nothing of what no element plays.
            party.element = Object.assign(new Audio(), {srcObject: stream, muted: true});
            party.element.play();
            audio.createMediaStreamSource(stream).connect(analyser);
        };
    },
    async offer(command) {
        prefer();
        await party.connection.setLocalDescription();
        return described(command);
    },
    async restart(command) {
        party.connection.restartIce();
        await party.connection.setLocalDescription();
        return described(command);
    },
    async answer(command) {
        await party.connection.setRemoteDescription({type: "offer", sdp: command.sdp});
        prefer();
        party.begin = performance.now();
        await party.connection.setLocalDescription();
        return described(command);
    },
    async remote({sdp}) {
        party.begin = performance.now();
        await party.connection.setRemoteDescription({type: "answer", sdp});
    },
    async candidate({line, mid}) {
        await party.connection.addIceCandidate({candidate: line.replace(/^a=/, ""), sdpMid: mid});
    },
    async connected() {
        await until(() => party.connection.connectionState === "connected", () => party.connection.connectionState);
        return {seconds: (performance.now() - party.begin) / 1000};
    },
    async hear({hz, share: wanted}) {
        const samples = new Float32Array(party.analyser.fftSize);
        let best = 0;
        await pause((1000 * samples.length) / audio.sampleRate);
        await until(() => {
            party.analyser.getFloatTimeDomainData(samples);
            best = Math.max(best, share(samples, hz, audio.sampleRate));
            return best >= wanted;
        }, () => `share ${best} of ${hz} Hz`);
        return {share: best};
    },
    // A picture to be sent besides.
    async video() {
        const canvas = Object.assign(document.createElement("canvas"), {width: 320, height: 240});
        canvas.getContext("2d").fillRect(0, 0, 100, 100);
        party.connection.addTrack(canvas.captureStream(10).getVideoTracks()[0]);
    },
    async directions() {
        return {all: party.connection.getTransceivers().map((transceiver) => transceiver.currentDirection)};
    },
    async press({digits}) {
        const {dtmf} = party.connection.getSenders()[0];
        await until(() => dtmf.canInsertDTMF, () => "digits cannot be sent");
        dtmf.insertDTMF(digits, 100, 50);
    },
    // The address pair in use, the cipher, and what was received and lost.
    async state() {
        const all = new Map();
        (await party.connection.getStats()).forEach((value) => all.set(value.id, value));
        const of = (type) => [...all.values()].find((value) => value.type === type) || {};
        const transport = of("transport"), pair = all.get(transport.selectedCandidatePairId) || {};
        const {packetsReceived: received, packetsLost: lost} = of("inbound-rtp");
        return {received, lost, cipher: transport.srtpCipher, dtls: transport.dtlsState, pairs: transport.selectedCandidatePairChanges,
            remote: (all.get(pair.remoteCandidateId) || {}).usernameFragment};
    },
    async close() {
        party.tone.stop();
        party.connection.close();
    },
};

async function command(value) {
    return (await operations[value.op](value)) || {};
}

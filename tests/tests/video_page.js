// Two WebRTC parties in one page, called by name: each sends a picture of its own colour and a tone, and tells what it sees of the other.
"use strict";
const LIMIT = 20000;
// Large enough for three layers.
const SIZE = {width: 960, height: 540};
const parties = {};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition, what) {
    const end = performance.now() + LIMIT;
    for (let value; ; await pause(20)) {
        if ((value = await condition())) return value;
        if (performance.now() > end) throw new Error(await what());
    }
}

// A moving picture in one colour.
function picture(colour) {
    const canvas = Object.assign(document.createElement("canvas"), SIZE);
    const context = canvas.getContext("2d");
    let turn = 0;
    setInterval(() => {
        context.fillStyle = colour;
        context.fillRect(0, 0, SIZE.width, SIZE.height);
        context.fillStyle = "white";
        context.fillRect((turn++ * 4) % SIZE.width, 0, 8, 16);
    }, 33);
    return canvas.captureStream(30).getVideoTracks()[0];
}

function sound() {
    const audio = new AudioContext({sampleRate: 48000});
    const [tone, out] = [audio.createOscillator(), audio.createMediaStreamDestination()];
    tone.connect(out);
    tone.start();
    return out.stream.getAudioTracks()[0];
}

function party(name, colour) {
    const connection = new RTCPeerConnection({iceServers: []});
    const video = Object.assign(document.createElement("video"), {muted: true, autoplay: true});
    connection.ontrack = ({track}) => {
        if (track.kind === "video") video.srcObject = new MediaStream([track]);
    };
    return (parties[name] = {connection, video, colour});
}

// The codec and what repairs its losses.
function prefer(transceiver, codec) {
    const wanted = RTCRtpReceiver.getCapabilities("video").codecs.filter(({mimeType}) => {
        const name = mimeType.toLowerCase();
        return name === "video/rtx" || name === "video/" + codec.toLowerCase();
    });
    transceiver.setCodecPreferences(wanted);
}

async function described({connection}) {
    const local = () => connection.localDescription.sdp;
    const complete = () => connection.iceGatheringState === "complete" && local().includes("a=candidate:");
    await until(complete, () => "gathering does not end");
    return {sdp: local()};
}

const operations = {
    async codecs() {
        return {video: RTCRtpSender.getCapabilities("video").codecs.map(({mimeType}) => mimeType.replace("video/", ""))};
    },
    async offer({name, colour, codec, rids}) {
        const own = party(name, colour);
        own.connection.addTransceiver(sound(), {direction: "sendrecv"});
        const sendEncodings = (rids || []).map((rid, number) => ({rid, scaleResolutionDownBy: 2 ** number}));
        const transceiver = own.connection.addTransceiver(picture(colour), {direction: "sendrecv", sendEncodings});
        prefer(transceiver, codec);
        await own.connection.setLocalDescription();
        return described(own);
    },
    async answer({name, colour, sdp}) {
        const own = party(name, colour);
        own.connection.addTrack(sound());
        own.connection.addTrack(picture(colour));
        await own.connection.setRemoteDescription({type: "offer", sdp});
        await own.connection.setLocalDescription();
        return described(own);
    },
    async remote({name, sdp}) {
        await parties[name].connection.setRemoteDescription({type: "answer", sdp});
    },
    async connected({name}) {
        const {connection} = parties[name];
        await until(() => connection.connectionState === "connected", () => connection.connectionState);
    },
    // Waits for a picture, and tells the middle of it.
    async see({name}) {
        const {video} = parties[name];
        const canvas = Object.assign(document.createElement("canvas"), SIZE);
        const context = canvas.getContext("2d", {willReadFrequently: true});
        const middle = () => {
            context.drawImage(video, 0, 0, SIZE.width, SIZE.height);
            return [...context.getImageData(SIZE.width / 2, SIZE.height / 2, 1, 1).data.slice(0, 3)];
        };
        await until(() => video.readyState >= 2 && middle().some((part) => part > 100), () => `no picture: ${middle()}`);
        return {middle: middle()};
    },
    // Waits until a figure of the statistics is larger than a value.
    async grows({name, type, kind, figure, beyond}) {
        let last;
        const reached = async () => {
            (await parties[name].connection.getStats()).forEach((value) => {
                if (value.type === type && (!kind || value.kind === kind) && value[figure] !== undefined) last = value[figure];
            });
            return last > beyond;
        };
        await until(reached, () => `${name}: ${figure} of ${type} is ${last}`);
        return {value: last};
    },
    // The statistics of one layer.
    async layer({name, rid}) {
        let found;
        (await parties[name].connection.getStats()).forEach((value) => {
            if (value.type === "outbound-rtp" && value.rid === rid) found = value;
        });
        return {pliCount: found && found.pliCount};
    },
    async close() {
        for (const {connection} of Object.values(parties)) connection.close();
    },
};

async function command(value) {
    return (await operations[value.op](value)) || {};
}

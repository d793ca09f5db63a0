"""A WebRTC party on aiortc. Commands come as lines of JSON, each is answered by one."""
import array, asyncio, fractions, json, math, re, sys, time

import aioice
import aioice.ice
import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.sdp import candidate_from_sdp

# It gathers no loopback addresses by itself.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
LIMIT = 15
RATE = 48000
FRAME = RATE // 50


class Tone(MediaStreamTrack):
    """A sine of so many Hz, in real time."""

    kind = "audio"

    def __init__(self, hz):
        super().__init__()
        second = [int(12000 * math.sin(2 * math.pi * hz * i / RATE)) for i in range(RATE)]
        self.frames = [array.array("h", second[i : i + FRAME]).tobytes() for i in range(0, RATE, FRAME)]
        self.number, self.begin = 0, None

    async def recv(self):
        self.begin = self.begin or time.monotonic()
        await asyncio.sleep(max(0, self.begin + self.number * FRAME / RATE - time.monotonic()))
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(self.frames[self.number % len(self.frames)])
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.number * FRAME, fractions.Fraction(1, RATE)
        self.number += 1
        return frame


class Party:
    def __init__(self, codec):
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTrack(Tone(880))
        self.codec = codec
        self.heard, self.rate = [], RATE
        self.more = asyncio.Event()
        self.connection.on("track", lambda track: asyncio.ensure_future(self.listen(track)))

    def prefer(self):
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        wanted = [codec for codec in codecs if codec.mimeType.lower() == "audio/" + self.codec.lower()]
        self.connection.getTransceivers()[0].setCodecPreferences(wanted)

    async def listen(self, track):
        try:
            while True:
                frame = await track.recv()
                samples = array.array("h", bytes(frame.planes[0])[: 2 * frame.samples * len(frame.layout.channels)])
                self.heard.extend(samples[:: len(frame.layout.channels)])
                self.rate = frame.sample_rate
                self.more.set()
        except MediaStreamError:
            pass

    def description(self):
        return {"sdp": self.connection.localDescription.sdp}


parties = []


async def new(command):
    parties.append(Party(command["codec"]))
    return {}


async def offer(command):
    party = parties[-1]
    party.prefer()
    await party.connection.setLocalDescription(await party.connection.createOffer())
    return party.description()


async def answer(command):
    party = parties[-1]
    await party.connection.setRemoteDescription(RTCSessionDescription(sdp=command["sdp"], type="offer"))
    party.prefer()
    party.begin = time.monotonic()
    await party.connection.setLocalDescription(await party.connection.createAnswer())
    return party.description()


async def remote(command):
    """The answer to our offer."""
    party = parties[-1]
    party.begin = time.monotonic()
    await party.connection.setRemoteDescription(RTCSessionDescription(sdp=command["sdp"], type="answer"))
    return {}


async def candidate(command):
    line = command["line"]
    candidate = candidate_from_sdp(line.split(":", 1)[1])
    candidate.sdpMid, candidate.sdpMLineIndex = command["mid"], 0
    await parties[-1].connection.addIceCandidate(candidate)
    return {}


async def connected(command):
    party = parties[-1]
    while party.connection.connectionState != "connected":
        if party.connection.connectionState == "failed" or time.monotonic() > party.begin + LIMIT:
            raise RuntimeError(party.connection.connectionState)
        await asyncio.sleep(0.005)
    return {"seconds": time.monotonic() - party.begin}


def share(samples, hz, rate):
    """Power of one frequency relative to the whole (Goertzel)."""
    coefficient = 2 * math.cos(2 * math.pi * hz / rate)
    last = before = 0.0
    for sample in samples:
        last, before = sample + coefficient * last - before, last
    total = sum(sample * sample for sample in samples)
    power = last * last + before * before - coefficient * last * before
    return 2 * power / (total * len(samples)) if total else 0.0


async def hear(command):
    """Waits until one of the windows of 200 ms that come from now on is that tone."""
    party, best = parties[-1], 0.0
    party.heard.clear()
    end = time.monotonic() + LIMIT
    while best < command["share"]:
        if time.monotonic() > end:
            raise RuntimeError("share %.2f of %d Hz" % (best, command["hz"]))
        window = party.rate // 5
        while len(party.heard) < window:
            party.more.clear()
            await asyncio.wait_for(party.more.wait(), LIMIT)
        best = max(best, share(party.heard[:window], command["hz"], party.rate))
        del party.heard[:window]
    return {"share": best}


async def close(command):
    await parties.pop().connection.close()
    return {}


async def main():
    loop = asyncio.get_running_loop()
    operations = {
        function.__name__: function for function in (new, offer, answer, remote, candidate, connected, hear, close)
    }
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        try:
            reply = await operations[command["op"]](command)
        except Exception as error:
            reply = {"error": repr(error)}
        print(json.dumps(reply), flush=True)


asyncio.run(main())

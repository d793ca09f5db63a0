"""Three SIP phones that call each other through a proxy, and the media between them.

Just enough SIP over UDP (RFC 3261) for one call at a time: INVITE, re-INVITE, provisional answers, CANCEL, BYE."""

import random
import re
import socket
import struct
import threading
import time

PROXY = ("127.0.0.10", 5060)


class Media:
    """A port that sends and counts RTP packets (PCMU, 20 ms)."""

    def __init__(self, address, mark):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.address, self.port = self.socket.getsockname()
        self.mark = mark

    def sdp(self, version, direction="sendrecv"):
        return (f"v=0\r\no=- 1 {version} IN IP4 {self.address}\r\ns=-\r\nc=IN IP4 {self.address}\r\nt=0 0\r\n"
                f"m=audio {self.port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n")

    def send(self, target, packets=25):
        for sequence in range(packets):
            header = struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, self.mark)
            self.socket.sendto(header + bytes([self.mark]) * 160, target)
            time.sleep(0.01)

    def received(self):
        """Marks of the packets that have arrived since the last look, with their numbers."""
        marks = {}
        self.socket.settimeout(0.2)
        try:
            while True:
                packet = self.socket.recv(2048)
                if len(packet) > 12:
                    marks[packet[12]] = marks.get(packet[12], 0) + 1
        except socket.timeout:
            return marks


def endpoint(sdp):
    """Where a description wants its audio."""
    return (re.search(r"^c=IN IP4 (\S+)", sdp, re.M).group(1), int(re.search(r"^m=audio (\d+)", sdp, re.M).group(1)))


def header(message, name):
    found = re.search(rf"^{name}:\s*(.*?)\r$", message, re.M | re.I)
    return found.group(1) if found else ""


def headers(message, name):
    return re.findall(rf"^{name}:\s*(.*?)\r$", message, re.M | re.I)


def body(message):
    return message.split("\r\n\r\n", 1)[1]


class Phone:
    """One phone: a socket, its tag, and what it knows of its dialogue."""

    def __init__(self, name, address):
        self.who, self.address = name, address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 5060))
        self.tag = f"{name}-{random.randrange(1 << 30)}"
        self.sequence = 0

    def receive(self, timeout=5):
        self.socket.settimeout(timeout)
        return self.socket.recv(65535).decode()

    def transmit(self, message):
        self.socket.sendto(message.encode(), PROXY)


class Caller(Phone):
    """Begins calls."""

    def __init__(self, name, address):
        super().__init__(name, address)
        self.new_dialogue("")

    def new_dialogue(self, user):
        self.user, self.call_id = user, f"{random.randrange(1 << 40)}@{self.address}"
        self.to, self.target, self.routes, self.early = f"<sip:{user}@127.0.0.10>", f"sip:{user}@127.0.0.10", [], {}

    def request(self, method, text="", sequence=None):
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        routes = "".join(f"Route: {route}\r\n" for route in self.routes)
        kind = "Content-Type: application/sdp\r\n" if text else ""
        self.transmit(
            f"{method} {self.target} SIP/2.0\r\nVia: SIP/2.0/UDP {self.address}:5060;branch=z9hG4bK{random.randrange(1 << 40)}\r\n"
            f"{routes}Max-Forwards: 70\r\nFrom: <sip:{self.who}@{self.address}>;tag={self.tag}\r\nTo: {self.to}\r\n"
            f"Call-ID: {self.call_id}\r\nCSeq: {sequence} {method}\r\nContact: <sip:{self.who}@{self.address}:5060>\r\n"
            f"{kind}Content-Length: {len(text)}\r\n\r\n{text}")

    def invite(self, text):
        """Gives the final description; early ones are in `early`, by tag."""
        self.request("INVITE", text)
        sequence = self.sequence
        while True:
            reply = self.receive()
            if not reply.startswith("SIP/2.0") or header(reply, "CSeq") != f"{sequence} INVITE":
                continue
            status = int(reply.split(" ")[1])
            if status < 200:
                if body(reply):
                    self.early[header(reply, "To").split("tag=")[1]] = body(reply)
                continue
            assert status == 200, reply
            self.to = header(reply, "To")
            self.target = re.search(r"<(.*?)>", header(reply, "Contact")).group(1)
            # The route of a dialogue is fixed by its first request.
            self.routes = self.routes or list(reversed(headers(reply, "Record-Route")))
            self.request("ACK", sequence=sequence)
            return body(reply)

    def bye(self):
        self.request("BYE")
        while "BYE" not in header(self.receive(), "CSeq"):
            pass


class Callee(Phone, threading.Thread):
    """Answers. `early`: description in a 183 first, and then ring until `pick_up` is set."""

    def __init__(self, name, address, media):
        Phone.__init__(self, name, address)
        threading.Thread.__init__(self, daemon=True)
        self.media, self.early, self.pick_up = media, False, threading.Event()
        self.offers, self.cancelled, self.version, self.local_tag = [], threading.Event(), 0, self.tag

    def reply(self, request, status, text=""):
        copied = "".join(f"{name}: {value}\r\n" for name in ("Via", "Record-Route") for value in headers(request, name))
        to = header(request, "To")
        to += "" if "tag=" in to else f";tag={self.local_tag}"
        kind = "Content-Type: application/sdp\r\n" if text else ""
        self.transmit(
            f"SIP/2.0 {status}\r\n{copied}From: {header(request, 'From')}\r\nTo: {to}\r\nCall-ID: {header(request, 'Call-ID')}\r\n"
            f"CSeq: {header(request, 'CSeq')}\r\nContact: <sip:{self.who}@{self.address}:5060>\r\n{kind}Content-Length: {len(text)}\r\n\r\n{text}")

    def answer(self, request):
        offered = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)", body(request), re.M).group(1)
        mirrored = {"sendonly": "recvonly", "recvonly": "sendonly"}.get(offered, offered)
        self.version += 1
        return self.media.sdp(self.version, mirrored)

    def run(self):
        while True:
            try:
                message = self.receive(30)
            except (socket.timeout, OSError):
                return
            method = message.split(" ")[0]
            if method == "INVITE":
                self.offers.append(body(message))
                if self.early and "tag=" not in header(message, "To"):
                    self.reply(message, "183 Session Progress", self.answer(message))
                    threading.Thread(target=self.ring, args=(message,), daemon=True).start()
                else:
                    self.reply(message, "200 OK", self.answer(message))
            elif method == "CANCEL":
                self.cancelled.set()
                self.pick_up.set()
                self.reply(message, "200 OK")
            elif method == "BYE":
                self.reply(message, "200 OK")

    def ring(self, request):
        self.pick_up.wait(10)
        if self.cancelled.is_set():
            self.reply(request, "487 Request Terminated")
        else:
            self.reply(request, "200 OK", self.answer(request))

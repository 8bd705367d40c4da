#!/usr/bin/env python3
"""A subscriber that reads 1 KiB a second. Standard library only.

slow-reader.py PORT SECONDS [RATE]   subscribes to everything, reads RATE (1024) bytes a second for SECONDS, then as
fast as it can until it holds what the server holds; prints one line of JSON.
"""
import base64, json, os, socket, struct, sys, time

port, seconds = int(sys.argv[1]), float(sys.argv[2])
rate = int(sys.argv[3]) if len(sys.argv) > 3 else 1024


def connect(receive_buffer=None):
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /sync HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    return sock


def send(sock, opcode, payload):
    mask = os.urandom(4)
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    sock.sendall(bytes([0x80 | opcode]) + length + mask + masked)


class Reader:
    def __init__(self, sock):
        self.sock, self.bytes = sock, b""

    def frames(self, chunk):
        """Reads up to chunk bytes, and yields the messages that are whole by then."""
        data = self.sock.recv(chunk)
        if not data:
            raise EOFError("the server closed the connection")
        self.bytes += data
        while len(self.bytes) >= 2:
            length, start = self.bytes[1] & 127, 2
            if length == 126:
                if len(self.bytes) < 4: return
                length, start = struct.unpack(">H", self.bytes[2:4])[0], 4
            elif length == 127:
                if len(self.bytes) < 10: return
                length, start = struct.unpack(">Q", self.bytes[2:10])[0], 10
            if len(self.bytes) < start + length: return
            opcode, payload = self.bytes[0] & 15, self.bytes[start:start + length]
            self.bytes = self.bytes[start + length:]
            if opcode == 9: send(self.sock, 10, payload)
            elif opcode == 1: yield json.loads(payload)
            elif opcode == 8: raise EOFError(f"closed: {payload[2:].decode()}")


versions, received, skipped = {}, 0, 0


def take(message):
    global received, skipped
    if message["type"] == "update":
        received += 1
        versions[message["key"]] = max(versions.get(message["key"], ""), message["version"])
    elif message["type"] == "conflated":
        skipped += message["skipped"]


def held_by_server():
    sock = connect()
    reader, after, held = Reader(sock), None, {}
    while True:
        send(sock, 1, json.dumps({"type": "list", "id": "l", "limit": 1000, **({"after": after} if after else {})}).encode())
        answer = None
        while answer is None:
            for message in reader.frames(1 << 16):
                if message["type"] == "registers": answer = message
        held |= {row["key"]: row["version"] for row in answer["registers"]}
        after = answer.get("next")
        if not after: return held


sock = connect(4096)
send(sock, 1, b'{"type":"subscribe","id":"s","pattern":"*","conflated":true}')
reader, start, read = Reader(sock), time.time(), 0
while time.time() - start < seconds:
    for message in reader.frames(max(1, rate // 4)): take(message)
    read += rate // 4
    time.sleep(max(0, start + read / rate - time.time()))
wanted = held_by_server()
slow = time.time()
while versions != wanted and time.time() - slow < 60:
    for message in reader.frames(1 << 16): take(message)
print(json.dumps({
    "converged": versions == wanted, "keys": len(wanted), "received": received, "conflated": skipped,
    "seconds_to_converge": round(time.time() - slow, 2)}))
sys.exit(versions != wanted)

"""A server inside the sandbox that answers as the path asks. It prints its port once it listens."""
import base64, hashlib, http.server, itertools, json, struct, threading, time

requests = []
connections = itertools.count(1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.number = next(connections)

    def log_message(self, *_):
        pass

    def answer(self, body, headers=(), status=200):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_any(self):
        requests.append(self.path)
        path = self.path.split("?")[0]
        if path == "/sse":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for number in range(3):
                self.wfile.write(b"data: %d\n\n" % number)
                self.wfile.flush()
                time.sleep(0.7)
            self.close_connection = True
        elif path == "/count":
            self.answer(json.dumps(requests).encode())
        elif path == "/cookies":
            self.answer(b"", [
                ("Set-Cookie", "sid=1; Domain=sbx.test; Path=/"),
                ("Set-Cookie", "__Host-sandbox-preview=forged; Path=/; Secure"),
            ])
        elif path == "/redirect":
            self.answer(b"", [("Location", "http://%s/echo" % self.headers["Host"])], 302)
        elif path == "/huge":
            self.answer(b"", [("X-%d" % number, "x" * 1000) for number in range(100)])
        elif path == "/many":
            self.answer(b"", [("X-%d" % number, "x") for number in range(400)])
        elif path == "/garbage":
            self.wfile.write(b"SSH-2.0-not-http\r\n\r\n")
            self.close_connection = True
        elif path == "/twice":
            # Two responses for one request: the second must reach nobody.
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                             b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        elif path in ("/endless", "/long"):
            # A body without an end, in chunks or of a length.
            chunked = path == "/endless"
            self.send_response(200)
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(1 << 40))))
            self.end_headers()
            while True:
                self.wfile.write(b"5\r\nmore\n\r\n" if chunked else b"more\n")
                time.sleep(0.02)
        elif path == "/silent":
            time.sleep(60)
        elif path == "/ws":
            self.websocket()
        else:
            body = self.read_body()
            seen = [[name, value] for name, value in self.headers.items()]
            self.answer(json.dumps({
                "method": self.command, "path": self.path, "headers": seen,
                "length": len(body), "sha256": hashlib.sha256(body).hexdigest(), "connection": self.number,
            }).encode(), [("Content-Type", "application/json")])

    do_GET = do_POST = do_PUT = do_HEAD = do_OPTIONS = handle_any

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        self.frame(json.dumps({name.lower(): value for name, value in self.headers.items()}).encode())
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            length = head[1] & 127
            if length == 126:
                length = struct.unpack(">H", self.rfile.read(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self.rfile.read(8))[0]
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            if head[0] & 15 == 8:
                self.wfile.write(b"\x88\x00")
                return
            self.frame(data.upper())

    def frame(self, data):
        if len(data) < 126:
            head = bytes([0x81, len(data)])
        else:
            head = bytes([0x81, 126]) + struct.pack(">H", len(data))
        self.wfile.write(head + data)
        self.wfile.flush()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()

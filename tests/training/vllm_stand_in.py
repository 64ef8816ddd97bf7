"""What AsyncGRPO needs of a GPU machine, for a CPU: a server that completes prompts, and no weights for it."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["red", "green", "blue", "grey", "pink", "gold"]


@contextmanager
def server(tokenizer):
    """Serves vLLM's `/v1/completions` on loopback with words that depend on the request; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            chosen = hashlib.sha256(body).digest()
            text = " ".join(WORDS[byte % len(WORDS)] for byte in chosen[:3])
            ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
            choice = {"token_ids": ids, "logprobs": {"token_logprobs": [-5.0] * len(ids)}}
            answer = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None  # the client is ended in the middle of its requests
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


class NoWeights:
    """The server's words do not depend on the policy, so that it needs none of its weights."""

    def send_weights(self, iterator):
        for _ in iterator:
            pass

    def init_weight_transfer(self):
        pass

    pause = resume = destroy = init_weight_transfer


class Tap:
    """A queue that keeps what is taken from it."""

    def __init__(self, queue):
        self.queue, self.taken = queue, []

    def get(self, *args, **kwargs):
        self.taken.append(self.queue.get(*args, **kwargs))
        return self.taken[-1]

    def qsize(self):
        return self.queue.qsize()

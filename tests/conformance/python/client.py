"""What python-socketio does against the echo application: client.py <url> <polling|websocket|default>."""

import queue
import sys

import socketio

url, transports = sys.argv[1:3]
client = socketio.Client(reconnection=False)
inbox: dict[str, queue.Queue] = {name: queue.Queue() for name in ("auth", "message-back")}


@client.on("*")
def remember(event, *arguments):
    inbox[event].put(list(arguments))


def echoed(*arguments):
    client.emit("message", arguments)
    return inbox["message-back"].get(timeout=10)


chosen = None if transports == "default" else [transports]
client.connect(url, transports=chosen, auth={"token": "123"}, wait_timeout=10)
assert inbox["auth"].get(timeout=10) == [{"token": "123"}]

arguments = [1, "2", {"3": [True, None]}, "€"]
assert echoed(*arguments) == arguments
assert list(client.call("message-with-ack", tuple(arguments), timeout=10)) == arguments

attachments = [b"\x01\x02\x03", {"deep": [b"\x04\x05\x06"]}]
assert echoed(*attachments) == attachments
assert list(client.call("message-with-ack", tuple(attachments), timeout=10)) == attachments

large = bytes(at % 251 for at in range(700_000))
assert echoed(large) == [large]

for number in range(500):
    client.emit("message", number)
assert [inbox["message-back"].get(timeout=10) for _ in range(500)] == [[number] for number in range(500)]

# A few heartbeats (300 ms each) to live through.
client.sleep(1)
assert echoed("alive") == ["alive"]

wanted = "polling" if transports == "polling" else "websocket"
assert client.transport() == wanted, client.transport()
client.disconnect()
print("ok")

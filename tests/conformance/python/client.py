"""What python-socketio does against the echo application: client.py <url> <polling|websocket|default>.

The asyncio client: the other one handles each message on a thread of its own, in no order.
"""

import asyncio
import sys

import socketio


async def main(url: str, transports: str) -> None:
    client = socketio.AsyncClient(reconnection=False)
    inbox = {name: asyncio.Queue() for name in ("auth", "message-back")}

    @client.on("*")
    async def remember(event, *arguments):
        inbox[event].put_nowait(list(arguments))

    async def received(event):
        return await asyncio.wait_for(inbox[event].get(), 10)

    async def echoed(*arguments):
        await client.emit("message", arguments)
        return await received("message-back")

    chosen = None if transports == "default" else [transports]
    await client.connect(url, transports=chosen, auth={"token": "123"}, wait_timeout=10)
    assert await received("auth") == [{"token": "123"}]

    arguments = [1, "2", {"3": [True, None]}, "€"]
    assert await echoed(*arguments) == arguments
    assert list(await client.call("message-with-ack", tuple(arguments), timeout=10)) == arguments

    attachments = [b"\x01\x02\x03", {"deep": [b"\x04\x05\x06"]}]
    assert await echoed(*attachments) == attachments
    assert list(await client.call("message-with-ack", tuple(attachments), timeout=10)) == attachments

    large = bytes(at % 251 for at in range(700_000))
    assert await echoed(large) == [large]

    for number in range(500):
        await client.emit("message", number)
    assert [await received("message-back") for _ in range(500)] == [[number] for number in range(500)]

    # A few heartbeats (300 ms each) to live through.
    await asyncio.sleep(1)
    assert await echoed("alive") == ["alive"]

    wanted = "polling" if transports == "polling" else "websocket"
    assert client.transport() == wanted, client.transport()
    await client.disconnect()


asyncio.run(main(*sys.argv[1:3]))

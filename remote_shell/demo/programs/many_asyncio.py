"""A command server for many clients by `asyncio`: one thread, and code that reads like that of one client.

Run it:  python3 many_asyncio.py
It starts the server, then a client with a slow command and two with quick ones,
and prints the answers in the order in which they come.
"""

import asyncio
import functools
import struct
import subprocess

# Before each message goes a header: the length of the message, as four bytes.
HEADER = struct.Struct("!I")


async def run(command):
    """At each `await` the loop may serve others, until that is done."""
    # A shell lets the client run anything at all: in the classroom only.
    process = await asyncio.create_subprocess_shell(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    return output


def run_and_wait(command):
    """As in the servers with threads: returns when the command ended."""
    return subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


async def run_blocking(command):
    """The mistake: no `await`. Meanwhile the loop serves nobody at all."""
    return run_and_wait(command)


async def run_in_thread(command):
    """A cure: a thread makes the call, and the thread is awaited."""
    return await asyncio.to_thread(run_and_wait, command)


async def receive(reader):
    """Returns the next message. Raises IncompleteReadError when the other side has hung up."""
    (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
    return await reader.readexactly(length)


async def send(writer, message):
    writer.write(HEADER.pack(len(message)) + message)
    await writer.drain()  # waits while the other side does not take what was written


async def talk(run, reader, writer):
    """Runs what one client sends. The loop runs one of these for each."""
    try:
        while True:
            await send(writer, await run(await receive(reader)))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def ask(address, command):
    """One client: sends its command, prints the answer, and leaves."""
    reader, writer = await asyncio.open_connection(*address)
    await send(writer, command)
    print((await receive(reader)).decode().strip())
    writer.close()


async def main():
    # Change `run` to `run_blocking` and see what happens.
    server = await asyncio.start_server(functools.partial(talk, run), "127.0.0.1", 0)
    async with server:
        address = server.sockets[0].getsockname()
        commands = b"sleep 1; echo slow", b"echo quick 1", b"echo quick 2"
        await asyncio.gather(*(ask(address, command) for command in commands))


if __name__ == "__main__":
    asyncio.run(main())

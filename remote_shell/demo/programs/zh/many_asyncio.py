"""用 `asyncio` 服务许多客户端的命令服务器：一个线程，代码读起来却像只服务一个客户端。

运行：  python3 many_asyncio.py
它启动服务器，然后启动一个命令很慢的客户端和两个命令很快的客户端，
并按回答到来的先后打印出来。
"""

import asyncio
import functools
import struct
import subprocess

# 每条消息前面放一个报头：消息的长度，用四个字节表示。
HEADER = struct.Struct("!I")


async def run(command):
    """每到一个 `await`，循环就可以去服务别人，直到等的东西来了。"""
    # shell 让客户端能执行任何东西：只能用在课堂上。
    process = await asyncio.create_subprocess_shell(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    return output


def run_and_wait(command):
    """和用线程的服务器一样：命令结束了才返回。"""
    return subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


async def run_blocking(command):
    """错误在这里：没有 `await`。命令不结束，循环就谁也不服务。"""
    return run_and_wait(command)


async def run_in_thread(command):
    """对付不能 `await` 的调用：让一个线程去调用，再 `await` 这个线程。"""
    return await asyncio.to_thread(run_and_wait, command)


async def receive(reader):
    """返回下一条消息。对方已经挂断时抛出 IncompleteReadError。"""
    (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
    return await reader.readexactly(length)


async def send(writer, message):
    writer.write(HEADER.pack(len(message)) + message)
    await writer.drain()  # 如果对方不取走写出的内容，就在这里等


async def talk(run, reader, writer):
    """执行一个客户端的命令，直到它挂断。每个客户端有一个这样的协程。"""
    try:
        while True:
            await send(writer, await run(await receive(reader)))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def ask(address, command):
    """一个客户端：发送命令，打印回答，然后离开。"""
    reader, writer = await asyncio.open_connection(*address)
    await send(writer, command)
    print((await receive(reader)).decode().strip())
    writer.close()


async def main():
    # 把 `run` 改成 `run_blocking`，看看会发生什么。
    server = await asyncio.start_server(functools.partial(talk, run), "127.0.0.1", 0)
    async with server:
        address = server.sockets[0].getsockname()
        commands = b"sleep 1; echo slow", b"echo quick 1", b"echo quick 2"
        await asyncio.gather(*(ask(address, command) for command in commands))


if __name__ == "__main__":
    asyncio.run(main())

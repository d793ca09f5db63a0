"""A party that speaks ICE through aioice. Commands come as lines of JSON, each is answered by one."""
import asyncio, json, sys, time

import aioice
import aioice.ice

aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
LIMIT = 5
connections = []


async def new(command):
    connection = aioice.Connection(ice_controlling=command["controlling"], components=1)
    connections.append(connection)
    await connection.gather_candidates()
    return {
        "ufrag": connection.local_username,
        "pwd": connection.local_password,
        "candidates": [candidate.to_sdp() for candidate in connection.local_candidates],
    }


async def connect(command):
    connection = connections[-1]
    connection.remote_username, connection.remote_password = command["ufrag"], command["pwd"]
    connection.remote_is_lite = command["lite"]
    for line in command["candidates"]:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(line))
    await connection.add_remote_candidate(None)
    begin = time.monotonic()
    await asyncio.wait_for(connection.connect(), LIMIT)
    return {"seconds": time.monotonic() - begin}


async def send(command):
    await connections[command["at"]].send(bytes.fromhex(command["hex"]))
    return {}


async def recv(command):
    return {"hex": (await asyncio.wait_for(connections[command["at"]].recv(), LIMIT)).hex()}


async def main():
    loop = asyncio.get_running_loop()
    operations = {"new": new, "connect": connect, "send": send, "recv": recv}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        try:
            answer = await operations[command["op"]](command)
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


asyncio.run(main())

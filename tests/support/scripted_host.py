"""A session host that does what a test wants: speaks the gateway's protocol, keeps users in a file, misbehaves.

Run as a program with a folder; only the standard library, so it starts fast. The folder holds

    users.json    identity (lower case) -> properties, shared by all processes of a test, under a lock
    faults.json   [{"cmdlet", "n" (1-based, counted over all processes), "do", ...}]
    calls.jsonl   one line per cmdlet: what was called, by whom, and whether it took effect

`do`: die-before, die-after, hang-before, hang-after, garbage, flood, mismatch, forge, error (with "error"), slow (with
"seconds"), no-newline, grow (with "megabytes"). "connect" is a cmdlet too.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
NOT_FOUND = {"message": 'Management object not found for identity "{}".', "fqid": "NotFound", "type": "Exception"}
HELD: list[bytearray] = []


def main() -> None:
    tenant = ""
    for line in sys.stdin:
        request = json.loads(line)
        match request["op"]:
            case "connect":
                tenant = request["tenant_id"]
                reply = connect(request)
            case "invoke":
                reply = invoke(request, tenant)
            case "exit":
                return
            case _:
                reply = {"ok": True}
        write({"id": request["id"], **reply})


def connect(request: Mapping[str, Any]) -> dict[str, Any]:
    fault = next_fault("connect")
    note(
        {
            "cmdlet": "connect",
            "module": request["module"],
            "tenant": request["tenant_id"],
            "client": request["client_id"],
        }
    )
    do = fault.get("do")
    if do == "die-before":
        os._exit(3)
    if do == "hang-before":
        time.sleep(3600)
    if do == "error":
        return {"ok": False, "error": fault["error"]}
    tenant = "00000000-0000-0000-0000-00000000dead" if do == "mismatch" else request["tenant_id"]
    return {"ok": True, "output": {"tenant_id": tenant}, "module_version": "1.0"}


def invoke(request: Mapping[str, Any], tenant: str) -> dict[str, Any]:
    cmdlet, params = request["cmdlet"], request["params"]
    fault = next_fault(cmdlet)
    do = fault.get("do")
    misbehave_before(do, fault, request)
    if do == "mismatch":
        return {"ok": True, "output": [], "tenant_id": "00000000-0000-0000-0000-00000000dead"}
    if do == "error":
        note({"cmdlet": cmdlet, "params": params, "effect": False})
        return {"ok": False, "error": fault["error"], "tenant_id": tenant}
    reply = act(cmdlet, params)
    note({"cmdlet": cmdlet, "params": params, "effect": reply["ok"], "tenant": tenant, "pid": os.getpid()})
    if do == "die-after":
        os._exit(3)
    if do == "hang-after":
        time.sleep(3600)
    return {**reply, "tenant_id": tenant, "duration_ms": 1}


def misbehave_before(do: str | None, fault: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    match do:
        case "die-before":
            os._exit(3)
        case "hang-before":
            time.sleep(3600)
        case "slow":
            time.sleep(fault["seconds"])
        case "garbage":
            sys.stdout.buffer.write(b"WARNING: \x1b[33mbanner\x1b[0m\n\x1enot json\n\xff\xfe\x00\n\x1e[]\n")
        case "forge":
            forged = {"id": "someone-else", "ok": True, "output": [{"LineURI": "tel:+666"}]}
            sys.stdout.write(f"\x1e{json.dumps(forged)}\nname\x1e{json.dumps({**forged, 'id': ''})}\n")
        case "no-newline":
            sys.stdout.write("progress 10% ... 20%")
        case "flood":
            for _ in range(200):
                sys.stdout.write("x" * 100_000)
        case "grow":
            HELD.append(bytearray(os.urandom(1024) * 1024 * int(fault["megabytes"])))
    sys.stdout.flush()


def act(cmdlet: str, params: Mapping[str, Any]) -> dict[str, Any]:
    if cmdlet in {"Get-CsTenant", "Get-OrganizationConfig", "Get-ConnectionInformation"}:
        return {"ok": True, "output": [{"TenantId": "t", "TenantID": "t", "Organization": "o", "Name": "o"}]}
    with locked("users.json") as users:
        found = users.get(str(params.get("Identity", "")).lower())
        if found is None:
            return {"ok": False, "error": {**NOT_FOUND, "message": NOT_FOUND["message"].format(params.get("Identity"))}}
        if cmdlet.startswith("Get-"):
            return {"ok": True, "output": [found]}
        change(cmdlet, params, found)
    return {"ok": True, "output": []}


def change(cmdlet: str, params: Mapping[str, Any], user: dict[str, Any]) -> None:
    if cmdlet == "Set-CsPhoneNumberAssignment":
        user["LineURI"] = f"tel:{params['TelephoneNumber']}"
    elif cmdlet == "Remove-CsPhoneNumberAssignment":
        user["LineURI"] = None
    elif cmdlet.startswith("Grant-Cs"):
        user[cmdlet.removeprefix("Grant-Cs")] = params["PolicyName"]
    else:
        user.update({name: value for name, value in params.items() if name != "Identity"})


def next_fault(cmdlet: str) -> Mapping[str, Any]:
    with locked("faults.json") as faults:
        counts = faults.setdefault("counts", {})
        counts[cmdlet] = counts.get(cmdlet, 0) + 1
        return next(
            (
                f
                for f in faults.get("faults", [])
                if f["cmdlet"] == cmdlet and f.get("n", counts[cmdlet]) == counts[cmdlet]
            ),
            {},
        )


def note(call: Mapping[str, Any]) -> None:
    with (FOLDER / "calls.jsonl").open("a") as file:
        file.write(json.dumps(call) + "\n")


@contextmanager
def locked(name: str) -> Iterator[dict[str, Any]]:
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = FOLDER / name
        content = json.loads(path.read_text()) if path.exists() else {}
        yield content
        path.write_text(json.dumps(content))


def write(frame: Mapping[str, Any]) -> None:
    sys.stdout.write(f"\x1e{json.dumps(frame)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

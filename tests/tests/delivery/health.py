"""Runs scripts of Lua over objects, as Argo CD does: version 5.1, the object as `obj`, no libraries of the system."""
import json
import sys

import lupa.lua51


def without_null(value):
    if isinstance(value, dict):
        return {key: without_null(inner) for key, inner in value.items() if inner is not None}
    return [without_null(inner) for inner in value] if isinstance(value, list) else value


def health(case):
    lua = lupa.lua51.LuaRuntime()
    for library in ("os", "io", "package", "debug"):
        lua.globals()[library] = None
    lua.globals().obj = lua.table_from(without_null(case["object"]), recursive=True)
    result = lua.execute(case["script"])
    return {"status": result["status"], "message": result["message"]}


json.dump([health(case) for case in json.load(sys.stdin)], sys.stdout)

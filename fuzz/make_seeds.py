#!/usr/bin/env python3
"""Writes the seed corpus of the fuzz targets: make_seeds.py OUT. Only the standard library is needed.

Small valid files, and pickles of every protocol, made without PyTorch: its classes are named, not imported.
"""
import argparse
import collections
import io
import json
import pathlib
import pickle
import struct
import sys
import types
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def npy(descr, shape, content, fortran=False, version=1):
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + content


def npz(arrays, method, zip64=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in arrays.items():
            info = zipfile.ZipInfo(name + ".npy")
            info.compress_type = method
            with archive.open(info, "w", force_zip64=zip64) as member:
                member.write(content)
    return out.getvalue()


def fake_torch():
    """Modules with the names that PyTorch's pickles refer to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in "Float Half BFloat16 Double Long Int Short Char Byte Bool".split():
        setattr(torch, name + "Storage", type(name + "Storage", (), {"__module__": "torch"}))
    torch.Size = type("Size", (), {"__module__": "torch"})
    for name in ("_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter"):
        function = types.FunctionType((lambda *a: None).__code__, {}, name)
        function.__module__ = "torch._utils"
        function.__qualname__ = name
        setattr(utils, name, function)
    torch._utils = utils
    sys.modules.update({"torch": torch, "torch._utils": utils})
    return torch


class Storage:
    def __init__(self, kind, key, numel):
        self.id = ("storage", kind, key, "cpu", numel)


class LegacyStorage(Storage):
    def __init__(self, kind, key, numel, view=None):
        self.id = ("storage", kind, key, "cuda:0", numel, view)


class Call:
    """Pickles as a call of `function`, which need not exist."""

    def __init__(self, function, *arguments):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts


class Pickler(pickle._Pickler):  # the one in Python, which does not check that a call makes sense
    def persistent_id(self, obj):
        return obj.id if isinstance(obj, Storage) else None


def dumps(value, protocol):
    out = io.BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue()


def checkpoint(torch, storage):
    hooks = collections.OrderedDict()
    a = storage(torch.FloatStorage, "0", 6)
    b = storage(torch.BoolStorage, "1", 2)
    tensor = Call(torch._utils._rebuild_tensor_v2, a, 0, (2, 3), (3, 1), False, hooks)
    view = Call(torch._utils._rebuild_tensor_v2, a, 1, (2, 2), (1, 2), False, hooks)
    old = Call(torch._utils._rebuild_tensor, b, 0, (2,), (1,))
    parameter = Call(torch._utils._rebuild_parameter, tensor, True, hooks)
    return {"model": collections.OrderedDict(a=tensor, v=view, m=old), "model_ema": {"a": parameter},
            "args": argparse.Namespace(lr=1e-4, n=2**40, s="x", b=True, t=(1, 2), none=None), "epoch": 3,
            "shape": Call(torch.Size, (2, 3)), "device": [1.5, -1, 300, 70000]}


def plain():
    shared = [1, 2]
    return [None, True, 1, -1, 2**31, -2**63, 2**80, 1.5, "text", "é", b"raw", shared, shared, (1,), (1, 2), (1, 2, 3),
            (1, 2, 3, 4), {}, {1: "a", "b": 2}, {3}, frozenset([4])]


def main():
    out = pathlib.Path(sys.argv[1])
    floats = struct.pack("<6f", *range(6))

    def put(target, name, content):
        (out / target).mkdir(parents=True, exist_ok=True)
        (out / target / name).write_bytes(content)

    put("safetensors", "two", safetensors({"a": ("F32", [2, 3], floats), "b": ("BOOL", [2], b"\0\1")}, {"k": "v"}))
    put("safetensors", "scalar", safetensors({"s": ("F64", [], bytes(8)), "e": ("I64", [0, 4], b"")}))
    put("safetensors", "none", safetensors({}))

    arrays = {"mu": npy("<f4", (6,), floats), "f": npy(">f4", (2, 3), floats, fortran=True, version=2)}
    for name, content in arrays.items():
        put("npz", name + ".npy", content)
    put("npz", "stored", npz(arrays, zipfile.ZIP_STORED))
    put("npz", "deflated", npz(arrays, zipfile.ZIP_DEFLATED))
    put("npz", "zip64", npz(arrays, zipfile.ZIP_STORED, zip64=True))

    torch = fake_torch()
    for protocol in range(6):
        if protocol >= 1:  # protocol 0 has no persistent id that is a tuple
            content = dumps(checkpoint(torch, Storage), protocol)
            put("torch_zip", f"checkpoint{protocol}",
                struct.pack("<H", len(content)) + content + bytes([24]) + floats + bytes([2, 0, 1]))
            body = dumps(checkpoint(torch, LegacyStorage), protocol) + dumps(["0", "1"], protocol)
            put("torch_legacy", f"checkpoint{protocol}",
                body + struct.pack("<q", 6) + floats + struct.pack("<q", 2) + b"\0\1")
        content = dumps(plain(), protocol)
        put("torch_zip", f"plain{protocol}", struct.pack("<H", len(content)) + content)
        put("torch_legacy", f"plain{protocol}", content + dumps([], protocol))
    for target, name in (("torch_zip", "io_zip.pth"), ("torch_legacy", "io_legacy.pth")):
        put(target, name, (ROOT / "tests" / "golden" / name).read_bytes())


if __name__ == "__main__":
    main()

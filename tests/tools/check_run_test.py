"""Tests tools/check_run.py: a sound run passes, and each damage to it is found."""
import json
import pathlib
import struct
import sys
import tempfile
import unittest
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import check_run  # noqa: E402


def png(width=28, height=28, value=None):
    rows = b"".join(
        b"\0" + bytes((x * y) % 256 if value is None else value for x in range(width)) for y in range(height))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def safetensors():
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


class CheckRun(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.run = pathlib.Path(folder.name)
        self.checkpoint = self.run / "checkpoints/step-00000006"
        self.checkpoint.mkdir(parents=True)
        (self.run / "samples").mkdir()
        (self.run / "config.toml").write_text("x = 1\n")
        self.write_log([1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
        for name in ["manifest.json", "state.json"]:
            (self.checkpoint / name).write_text("{}")
        for name in ["model", "ema", "optimizer"]:
            (self.checkpoint / f"{name}.safetensors").write_bytes(safetensors())
        (self.run / "samples/step-00000006.png").write_bytes(png())
        (self.run / "events.out.tfevents.1").write_bytes(b"x")

    def write_log(self, losses):
        lines = [json.dumps({"step": i, "loss": loss}) for i, loss in enumerate(losses, 1)]
        (self.run / "log.jsonl").write_text("\n".join(lines) + "\n")

    def assert_unsound(self, part, steps=6):
        with self.assertRaises((check_run.Unsound, OSError, ValueError, zlib.error)) as caught:
            check_run.check_run(self.run, steps)
        self.assertIn(part, str(caught.exception))

    def test_sound(self):
        self.assertIn("loss 0.9500 to 0.5500", check_run.check_run(self.run, 6))

    def test_log(self):
        self.assert_unsound("ends at step 6, expected 7", steps=7)
        self.write_log([1.0, 0.9, 0.8, 0.7, 1.2, 1.3])
        self.assert_unsound("does not fall")
        self.write_log([1.0, float("nan"), 0.8, 0.7, 0.6, 0.5])
        self.assert_unsound("log.jsonl:2: loss nan")
        self.write_log([1.0, None, 0.8, 0.7, 0.6, 0.5])
        self.assert_unsound("log.jsonl:2: loss None")
        (self.run / "log.jsonl").write_text('{"step": 1, "lo\n')
        self.assert_unsound("log.jsonl:1: no JSON")

    def test_checkpoint(self):
        (self.checkpoint / "ema.safetensors").write_bytes(safetensors()[:-1])
        self.assert_unsound("tensors end at 8 of 7")
        (self.checkpoint / "ema.safetensors").unlink()
        self.assert_unsound("ema.safetensors")
        (self.checkpoint / "manifest.json").unlink()
        self.assert_unsound("no manifest.json")

    def test_pictures(self):
        sheet = self.run / "samples/step-00000006.png"
        sheet.write_bytes(png(value=7))
        self.assert_unsound("the picture is empty")
        sheet.write_bytes(png(20, 20))
        self.assert_unsound("20x20")
        whole = png()
        sheet.write_bytes(whole[:60])
        self.assert_unsound("cut off")
        sheet.write_bytes(whole[:45] + bytes([whole[45] ^ 1]) + whole[46:])
        self.assert_unsound("wrong checksum")
        sheet.unlink()
        self.assert_unsound("no sample sheet")


if __name__ == "__main__":
    unittest.main()

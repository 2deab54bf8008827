"""Tests tests/golden/golden.py: equal files have equal hashes, and each change of one is found."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
import golden  # noqa: E402


def safetensors(name="w", kind="F32", shape=(2,), data=b"\0\0\x80\x3f\0\0\0\x40"):
    header = b'{"%s":{"dtype":"%s","shape":%s,"data_offsets":[0,%d]}}' % (
        name.encode(), kind.encode(), str(list(shape)).encode(), len(data))
    return len(header).to_bytes(8, "little") + header + data


class Golden(unittest.TestCase):
    def digest(self, **changes):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "t.safetensors"
            path.write_bytes(safetensors(**changes))
            return golden.digest(path)

    def test_a_changed_bit_name_kind_or_shape_is_another_hash(self):
        self.assertEqual(self.digest(), self.digest())
        for change in ({"data": b"\1\0\x80\x3f\0\0\0\x40"}, {"name": "v"}, {"kind": "I32"}, {"shape": (1, 2)}):
            self.assertNotEqual(self.digest(), self.digest(**change), change)

    def test_parts_that_differ_are_named(self):
        stored = {"samples": "a", "training: log": "b"}
        self.assertEqual(golden.differences("race", dict(stored), stored), [])
        self.assertEqual(golden.differences("race", {"samples": "a", "training: log": "c"}, stored),
                         ["race: training: log"])
        self.assertEqual(golden.differences("race", {"samples": "a"}, stored), ["race: training: log"])
        self.assertEqual(golden.differences("race", stored | {"more": "d"}, stored), ["race: more"])

    def test_numbers_are_compared_to_the_tolerance(self):
        stored = {"losses": [1.0, 2.0]}
        self.assertEqual(golden.far_numbers("race", {"losses": [1.0, 2.0 + 1e-5]}, stored), [])
        for got in ([1.0, 2.0001], [1.0], [1.0, float("nan")]):
            self.assertEqual(len(golden.far_numbers("race", {"losses": got}, stored)), 1, got)

    def test_numbers_of_a_file_are_of_its_values(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "t.safetensors"
            path.write_bytes(safetensors())
            self.assertEqual(golden.numbers_of(path), [3.0, 5.0 ** 0.5])

    def test_every_case_that_can_be_resumed_has_its_checkpoint(self):
        kept = {path.name for path in (golden.STORE / "runs").iterdir()}
        self.assertEqual(kept, set(golden.CASES) - golden.NOT_KEPT)


if __name__ == "__main__":
    unittest.main()

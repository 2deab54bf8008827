"""Makes the files of numpy in tests/data/npz, with numpy: python3 tests/tools/make_npz_files.py tests/data/npz

Element i of an array is i (truth values: i is odd); the names say what else is special about a file.
"""
import pathlib
import sys

import numpy

TYPES = "b1 u1 i1 i2 u2 f2 i4 u4 f4 f8 i8 u8".split()


def counting(kind, *shape):
    numbers = numpy.arange(numpy.prod(shape, dtype=int)).reshape(shape)
    return numbers % 2 == 1 if kind == "b1" else numbers.astype(kind)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    numpy.savez(folder / "types.npz", **{kind: counting(kind, 2, 3) for kind in TYPES})
    numpy.savez(folder / "shapes.npz", scalar=numpy.float32(7), empty=counting("f4", 0, 4),
                vector=numpy.asfortranarray(counting("f4", 5)), deep=counting("u1", 1, 2, 1, 2, 1, 1, 1, 2))
    numpy.savez_compressed(folder / "compressed.npz", x=counting("f4", 3))
    refused = {
        "objects": numpy.array([None, "text"], dtype=object),
        "big-endian": counting(">f4", 3),
        "columns": numpy.asfortranarray(counting("f4", 2, 3)),
        "records": numpy.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        "complex": numpy.zeros(2, dtype="c8"),
        "words": numpy.array(["one", "two"]),
        "rank-9": numpy.zeros([1] * 9, dtype="f4"),
    }
    for name, array in refused.items():
        numpy.savez(folder / f"{name}.npz", x=array)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

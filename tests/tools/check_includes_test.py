"""Tests tools/check_includes.py: each rule on a file that breaks it and on one that does not."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import check_includes  # noqa: E402


def offences(path, *lines):
    return [message for _, message in check_includes.check_text(path, "\n".join(lines) + "\n")]


class CheckIncludes(unittest.TestCase):
    def assert_offence(self, path, include, part):
        found = offences(path, include)
        self.assertEqual(len(found), 1, found)
        self.assertIn(part, found[0])

    def test_heavy_headers_are_banned_everywhere(self):
        for header in ["torch/torch.h", "torch/nn.h", "torch/nn/modules/linear.h", "torch/types.h", "ATen/ATen.h"]:
            for path in ["src/gallop/nn/a.cpp", "apps/gallop/a.cpp", "tests/nn/a.cpp", "src/gallop/ops/bridge.cpp"]:
                self.assert_offence(path, f"#include <{header}>", "banned")
        self.assertEqual(offences("src/gallop/nn/a.cpp", "#include <ATen/core/Tensor.h>", "#include <ATen/ops/gelu.h>"), [])

    def test_inner_headers_only_in_few_sources(self):
        include = "#include <torch/csrc/autograd/function.h>"
        self.assertEqual(offences("src/gallop/ops/bridge.cpp", include), [])
        self.assertEqual(offences("src/gallop/collectives/gloo.cpp", include), [])
        self.assert_offence("src/gallop/ops/gelu.cpp", include, "bridge")
        self.assert_offence("src/gallop/nn/a.cpp", "#include <torch/library.h>", "bridge")

    def test_no_toolkit_needed(self):
        self.assert_offence("src/gallop/nn/a.cpp", "#include <ATen/cuda/CUDAContext.h>", "toolkit")

    def test_torch_free_layers(self):
        for layer in ["base", "config", "formats", "data"]:
            self.assert_offence(f"src/gallop/{layer}/a.cpp", "#include <c10/util/Half.h>", "free of torch")
            self.assert_offence(f"src/gallop/{layer}/a.cpp", " # include <ATen/core/Tensor.h>", "free of torch")

    def test_layers_include_downwards(self):
        self.assertEqual(offences("src/gallop/sparse/a.cpp", '#include "gallop/nn/b.h"', '#include "gallop/sparse/c.h"'), [])
        self.assert_offence("src/gallop/sparse/a.cpp", '#include "gallop/models/b.h"', "below")
        self.assert_offence("src/gallop/base/a.cpp", '#include "gallop/config/b.h"', "below")
        self.assert_offence("src/gallop/nn/a.cpp", '#include "gallop/command.h"', "no header of a layer")
        self.assertEqual(offences("apps/gallop/a.cpp", '#include "gallop/command.h"', '#include "gallop/training/b.h"'), [])

    def test_unknown_layer_and_missing_guard(self):
        self.assertEqual(len(offences("src/gallop/misc/a.cpp", "")), 1)
        self.assertEqual(len(offences("src/gallop/a.cpp", "")), 1)
        self.assertEqual(len(offences("src/gallop/nn/a.h", "int x;")), 1)
        self.assertEqual(offences("src/gallop/nn/a.h", "// what it is", "#pragma once"), [])

    def test_tree(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "src/gallop/nn").mkdir(parents=True)
            self.assertEqual(check_includes.check_tree(root), ([], 0))
            (root / "src/gallop/nn/long.cpp").write_text("\n" * 801)
            (root / "src/gallop/nn/fits.cpp").write_text("\n" * 800)
            (root / "src/gallop/nn/bad.cpp").write_text("\n#include <ATen/ATen.h>\n")
            found, count = check_includes.check_tree(root)
            self.assertEqual(count, 3)
            self.assertEqual(len(found), 2)
            self.assertTrue(found[0].startswith("src/gallop/nn/bad.cpp:2: "), found)
            self.assertTrue(found[1].startswith("src/gallop/nn/long.cpp:800: 801 lines"), found)


if __name__ == "__main__":
    unittest.main()

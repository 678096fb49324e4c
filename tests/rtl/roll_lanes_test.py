# SPDX-License-Identifier: Apache-2.0
# rtl/bench/roll_lanes.py: what it writes does what it read, and has loops where lanes are alike.
import pathlib
import random
import re
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "rtl/bench"))
import roll_lanes  # pylint: disable=wrong-import-position

LANES = 8


def run(text, values, i=None):
    """Executes the statements that these tests know."""
    def evaluate(expression):
        return eval(re.sub(r"vlSelf->(\w+)", r'v["\1"]', re.sub(r"(\d+)U\b", r"\1", expression)), {"v": values, "i": i})

    for statement in roll_lanes.parse(text):
        loop = re.fullmatch(r"for \(unsigned i = 0; i < (\d+)U; \+\+i\) \{(.*)\}", statement.text, re.S)
        if loop:
            for n in range(int(loop.group(1))):
                run(loop.group(2), values, n)
        elif statement.bodies:
            for head, body in zip(statement.heads, statement.bodies):
                if head == "else" or evaluate(head[head.index("("):]):
                    run(body, values, i)
                    break
        else:
            target, value = statement.text.rstrip(";").split(" = ", 1)
            name, subscript = re.match(r"vlSelf->(\w+)\[(.*)\]$", target).groups()
            values[name][evaluate(subscript)] = evaluate(value) & 0xffff


def lane(name, n):
    return f"vlSelf->lawcat_{name}[{n}U]"


class Rolling(unittest.TestCase):
    def test_lanes_that_are_alike_become_a_loop(self):
        rolled = roll_lanes.roll("".join(f"{lane('a', n)} = ({lane('b', n)} + 1U);" for n in reversed(range(LANES))))
        self.assertEqual(rolled.split(), "for (unsigned i = 0; i < 8U; ++i) { vlSelf->lawcat_a[(0U + 1U * i)] = "
                         "(vlSelf->lawcat_b[(0U + 1U * i)] + 1U); }".split())

    def test_what_reads_the_lane_before_stays_in_order(self):
        chain = [f"{lane('a', n + 1)} = {lane('a', n)};" for n in range(LANES)]
        self.assertEqual(roll_lanes.roll("".join(chain)).split("\n")[:-1], chain)

    def test_a_call_that_may_write_its_arguments_is_not_passed(self):
        statements = [text for n in range(LANES)
                      for text in (f"{lane('a', n)} = vlSelf->lawcat_w[0U];", "VL_ADD_W(3, vlSelf->lawcat_w, vlSelf->lawcat_x);")]
        self.assertEqual(roll_lanes.roll("".join(statements)).split("\n")[:-1], statements)

    def test_lanes_in_every_second_half_of_a_word_become_two_loops(self):
        text = "".join(f"{lane('a', n)} = (0xffffU & " + (f"({lane('w', n // 2)} >> 0x10U)" if n % 2 else lane("w", n // 2)) +
                       ");" for n in range(LANES))
        self.assertEqual(roll_lanes.roll(text).count("for ("), 2)

    def test_ifs_of_one_condition_become_one(self):
        text = "".join(f"if (vlSelf->lawcat_c[0U]) {{ {lane('a', n)} = {lane('b', n)}; }}" for n in range(LANES))
        self.assertEqual((roll_lanes.roll(text).count("if ("), roll_lanes.roll(text).count("for (")), (1, 1))

    def test_random_programs_do_the_same_rolled(self):
        loops = 0
        for seed in range(100):
            source = random.Random(seed)

            def statement(n, source=source):
                target, one, other = (source.choice("abcd") for _ in range(3))
                shifted = source.choice((0, 0, 0, 1))
                return (f"{lane(target, n)} = (({lane(one, n)} * 3U) + {lane(other, (n + shifted) % LANES)} + "
                        f"{source.choice((0, 0, n))}U);\n")

            text = ""
            for _ in range(12):
                lanes = source.sample(range(LANES), source.randint(1, LANES))
                state = source.getrandbits(32)
                for n in lanes:  # alike, but for some
                    if source.random() < 0.9:
                        body = statement(n, random.Random(state))
                    else:
                        body = statement(n)
                    if state % 3 == 0:
                        body = f"if (({lane('d', state % LANES)} & 1U)) {{\n{body}}} else {{\n{statement(n)}}}\n"
                    text += body
            before = {f"lawcat_{name}": [source.getrandbits(16) for _ in range(LANES)] for name in "abcd"}
            after = {name: list(values) for name, values in before.items()}
            rolled = roll_lanes.roll(text)
            loops += rolled.count("for (")
            run(text, before)
            run(rolled, after)
            self.assertEqual(before, after, f"seed {seed}")
        self.assertGreater(loops, 100)

    def test_names_become_arrays_and_memories_of_lanes_rows(self):
        names = [f"lawcat_top__DOT__g_lane__BRA__{n}__KET____DOT__" for n in range(LANES)]
        header = "".join(f"    CData/*3:0*/ {name}q;\n    VlUnpacked<CData/*3:0*/, 16> {name}m;\n" for name in names)
        body = "".join(f"    vlSelf->{name}q = vlSelf->{name}m\n        [vlSelf->lawcat_address];\n" for name in names)
        function = f"VL_INLINE_OPT void Vx___024root___nba_sequent__TOP__0(Vx* vlSelf) {{\n    // Body\n{body}}}\n"
        with tempfile.TemporaryDirectory() as source, tempfile.TemporaryDirectory() as target:
            (pathlib.Path(source) / "Vx___024root.h").write_text(header)
            (pathlib.Path(source) / "Vx___024root.cpp").write_text(function)
            arguments, sys.argv = sys.argv, ["roll_lanes.py", source, target]
            roll_lanes.main()
            sys.argv = arguments
            header, function = ((pathlib.Path(target) / f"Vx___024root.{kind}").read_text() for kind in ("h", "cpp"))
        family = "lawcat_top__DOT__g_lane__BRA__n__KET____DOT__"
        self.assertEqual(header.split("\n")[:2], [f"    CData/*3:0*/ {family}q__aCData[8];",
                                                  f"    VlUnpacked<VlUnpacked<CData/*3:0*/, 8>, 16> {family}m__aVlUnpacked_CData_16__;"])
        self.assertIn(f"vlSelf->{family}q__aCData[(0U + 1U * i)] = vlSelf->{family}m__aVlUnpacked_CData_16__"
                      "[vlSelf->lawcat_address][(0U + 1U * i)];", function)


if __name__ == "__main__":
    unittest.main()

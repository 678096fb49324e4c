# SPDX-License-Identifier: Apache-2.0
# scripts/haystack on texts of the form of its raw ones, and scripts/recall_tokenizer on the shipped haystacks.
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

SOURCE = pathlib.Path(__file__).resolve().parents[2]


class Scripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_script(self, script, *arguments, code=0, **more):
        done = subprocess.run([sys.executable, "-B", SOURCE / "scripts" / script, *map(str, arguments)], text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240, **more)
        self.assertEqual(done.returncode, code, done.stderr)
        if code:
            self.assertEqual(done.stderr.splitlines()[-1][: len(script) + 10], f"scripts/{script}: ", done.stderr)
        return done.stderr

    def names(self, folder):
        return sorted(file.name for file in folder.iterdir())


OPTICKS = """OPTICKS

A preface that nobody asked for, of more than forty letters.

My Design in this Book is not to explain the Properties of Light
by _Hypotheses_,[A] but to prop\u00f4se them.

[Illustration: FIG. 1.]

DEFINITIONS AND AXIOMS OF THE FIRST BOOK OF OPTICKS

See our Author's Lectiones Opticae, of which there is no more to be said.

12 34 56 78 90 12 34 56 78 90 12 34 56 78 90 12 34 56 78 90 12 34

By the Rays of Light I understand its least Parts, \u201cand those\u201d as well.
"""
NOVEL = ["PRIDE AND PREJUDICE", "", "By Jane Austen", "", "Chapter 1", "",
         "It is a truth universally acknowledged, that a single man", "must be in want", "",
         "Chapter 2, of which the heading is longer than forty letters", "", "Mr. Bennet was among the earliest of those who waited."]


def r_file(*texts):
    """As R keeps vectors of strings in a package."""
    chunks = b""
    for lines in texts:
        vector = b"X\n" + struct.pack(">iiii", 3, 0, 0, 5) + b"UTF-8" + struct.pack(">II", 16, len(lines))
        vector += b"".join(struct.pack(">Ii", 9, len(line.encode())) + line.encode() for line in lines)
        chunks += struct.pack(">I", len(vector)) + zlib.compress(vector)
    return chunks


class Haystack(Scripts):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "out"
        self.out.mkdir()
        self.opticks, self.novels = self.folder / "opticks.txt", self.folder / "novels.rdb"
        self.opticks.write_text(OPTICKS, encoding="utf-8")
        self.novels.write_bytes(r_file(["EMMA", "", "Emma Woodhouse"], NOVEL))

    def test_running_text_is_left_one_paragraph_a_line_in_ascii(self):
        self.run_script("haystack", self.opticks, self.novels, self.out)
        self.assertEqual(self.names(self.out), ["book.txt", "essays.txt"])
        self.assertEqual((self.out / "essays.txt").read_text(), "My Design in this Book is not to explain the Properties of Light "
                         'by Hypotheses, but to propose them.\nBy the Rays of Light I understand its least Parts, "and those" as well.\n')
        self.assertEqual((self.out / "book.txt").read_text(), "It is a truth universally acknowledged, that a single man must be in want\n"
                         "Mr. Bennet was among the earliest of those who waited.\n")

    def test_other_texts_are_refused_and_nothing_is_written(self):
        for novels, sentence in ((r_file(["EMMA"]), "a text with the line PRIDE AND PREJUDICE"),
                                 (r_file(NOVEL[:5]), "a paragraph that starts with"), (b"text", "a lazy-load file"),
                                 (b"no zlib stream", "a lazy-load file")):
            self.novels.write_bytes(novels)
            said = self.run_script("haystack", self.opticks, self.novels, self.out, code=2)
            self.assertIn(f"{self.novels}: expected {sentence}", said)
        self.novels.write_bytes(r_file(NOVEL))
        self.assertIn("No such file", self.run_script("haystack", self.folder / "none", self.novels, self.out, code=2))
        self.assertIn("expected a folder for the files", self.run_script("haystack", self.opticks, self.novels, self.opticks, code=2))
        self.opticks.write_bytes(b"\xff")
        self.assertIn(f"{self.opticks}: expected a text in UTF-8", self.run_script("haystack", self.opticks, self.novels, self.out, code=2))
        self.assertEqual(self.names(self.out), [])


class Tokenizer(Scripts):
    @unittest.skipUnless(shutil.which("spm_train"), "needs sentencepiece")
    def test_the_shipped_tokenizer_is_made_again(self):
        made = self.folder / "new/tokenizer.model"
        self.run_script("recall_tokenizer", made)
        self.assertEqual(self.names(made.parent), [made.name])
        self.assertEqual(made.read_bytes(), (SOURCE / "models/recall-small/tokenizer.model").read_bytes())

    @unittest.skipUnless(shutil.which("spm_train"), "needs sentencepiece")
    def test_a_vocabulary_that_is_too_small_leaves_the_file_as_it_was(self):
        kept = self.folder / "tokenizer.model"
        kept.write_text("old")
        self.assertIn("a vocabulary of 10 pieces", self.run_script("recall_tokenizer", "--vocab", 10, kept, code=2))
        self.assertEqual((kept.read_text(), self.names(self.folder)), ("old", [kept.name]))

    @unittest.skipUnless(shutil.which("spm_train"), "needs sentencepiece")
    def test_words_and_places_that_cannot_be_used_are_said(self):
        words, made = self.folder / "words.json", self.folder / "tokenizer.model"
        for text in ("{}", "[]", "3", '{"niah": {"adjectives": []}, "babi": {}}', '{"a'):
            words.write_text(text)
            said = self.run_script("recall_tokenizer", "--words", words, made, code=2)
            self.assertIn(f"--words {words}: expected the words of the tasks", said)
        for place in (self.folder, words / "x", "/proc/x/y"):
            said = self.run_script("recall_tokenizer", place, code=2)
            self.assertIn(f"{place}: expected a file that can be written", said)
        self.assertEqual(self.names(self.folder), [words.name])

    def test_a_missing_tool_is_named(self):
        self.assertIn("spm_train is not installed", self.run_script("recall_tokenizer", self.folder / "model", code=2,
                                                                    env={**os.environ, "PATH": str(self.folder)}))


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Rolls what Verilator unrolled: roll_lanes.py IN OUT reads the C++ that Verilator 5.006 left in IN, writes it to OUT.

Verilator gives every lane of a generate loop names and statements of its own: straight code of hundreds of KiB, which
a processor is busy fetching. Here the variables of a family (the same name but for instance numbers) become one array,
and statements that differ in numbers alone become a loop, which the compiler vectorises. Statements are moved only past
statements that share no variable with them, or read it only; what is not understood counts as writing all it names.
What fits no pattern stays as it was.
"""
import collections
import pathlib
import re
import sys

LEAST = 4  # members of a family, statements of a loop

INSTANCE = re.compile(r"(?<=__BRA__)\d+(?=__KET__)")
CALL = re.compile(r"(?<=__)\d+(?=__\w+$)")  # of a function that was inlined
TYPE = r"(?:[CSIQ]Data/\*[\d:]+\*/|VlUnpacked<[^;\n]*>|VlWide<\d+>/\*[\d:]+\*/)"
DECLARATION = re.compile(rf"(?m)^(\s*)({TYPE}) (\w+);\n")
NAME = re.compile(r"\b(?:__V\w+|lawcat_\w+)\b")
ACCESS = re.compile(r"(?:\bvlSelf->(?=\w)|\b(?=__V|lawcat_))(\w+)(?:\s*\[\s*(\w+)\s*\])?")
CONSTANT = re.compile(r"(0x[0-9a-f]+|\d+)U")
NUMBER = re.compile(r"(\[\s*)?\b(0x[0-9a-f]+|\d+)U\b(\s*\])?")
WIDE = re.compile(r"\bVL_[A-Z]\w*W\w*\(")  # may write an argument
OUTSIDE = re.compile(r"vlSymsp|Verilated|\bVL_\w*(?:WRITE|STOP|FINISH|FATAL|MEM|PLUSARGS|RAND)")


# Names

def family(name):
    """The name without its instance numbers, and these."""
    numbers = []

    def take(match):
        numbers.append(int(match.group()))
        return "n"

    key = INSTANCE.sub(take, name)
    if name.startswith(("__Vfunc_", "__Vtask_")):
        key = CALL.sub(take, key, 1)
    return key, tuple(numbers)


def read_families(texts):
    """Of each name in a family its array and place, of each array its type and size."""
    types = collections.defaultdict(set)
    for text in texts:
        for match in DECLARATION.finditer(text):
            types[match.group(3)].add(re.sub(r"/\*.*?\*/", "", match.group(2)))
    groups = collections.defaultdict(dict)
    for name, kinds in types.items():
        key, numbers = family(name)
        if numbers and len(kinds) == 1:
            groups[key, *kinds][numbers] = name
    places, arrays = {}, {}
    for (key, kind), members in groups.items():
        if len(members) >= LEAST:
            array = key + "__a" + re.sub(r"\W+", "_", kind)
            arrays[array] = kind, len(members)
            for i, numbers in enumerate(sorted(members)):
                places[members[numbers]] = array, i
    return places, arrays


def replace_names(text, places, arrays):
    declared = set()

    def declare(match):
        space, kind, name = match.groups()
        if name not in places:
            return match.group()
        array = places[name][0]
        if array in declared:
            return ""
        declared.add(array)
        return f"{space}{kind} {array}[{arrays[array][1]}];\n"

    parts = []
    for part in re.split(r"(?m)^(?=\S.*\{$)", text):  # a class or a function
        declared.clear()
        parts.append(DECLARATION.sub(declare, part))
    return NAME.sub(lambda match: "{}[{}U]".format(*places[match.group()]) if match.group() in places else match.group(),
                    "".join(parts))


# Statements

def element(access):
    """What is accessed: a name and the number of its element, None for any."""
    name, subscript = access.groups()
    constant = CONSTANT.fullmatch(subscript or "")
    return name, int(constant.group(1), 0) if constant else None


class Statement:
    def __init__(self, text, heads=None, bodies=None):
        self.text, self.heads, self.bodies = text, heads, bodies  # the last two of an if and its elses
        self.reads, self.writes = set(), set()  # of elements
        if bodies is None:
            self.find_accesses()
        else:
            for head in heads:
                self.read(head)
            for inner in (statement for body in bodies for statement in parse(body)):
                self.reads |= inner.reads
                self.writes |= inner.writes
        # A number is a hole of the pattern if it is a subscript or small: no mask, no constant of the design.
        self.numbers = []
        self.pattern = re.sub(r"\s+", " ", NUMBER.sub(self.hole, text))

    def read(self, text):
        named = set(map(element, ACCESS.finditer(text)))
        if OUTSIDE.search(text):
            named.add(("outside", None))
        self.reads |= named
        if WIDE.search(text) or OUTSIDE.search(text):
            self.writes |= named

    def find_accesses(self):
        self.read(self.text)
        target = ACCESS.match(self.text)
        if target and re.match(r"\s*(\[[^=;]*\]\s*)?=[^=]", self.text[target.end():]):
            self.writes.add(element(target))
        else:
            self.writes |= self.reads

    def hole(self, match):
        value = int(match.group(2), 0)
        if not match.group(1) and value >= 64:
            return match.group()
        self.numbers.append(value)
        return (match.group(1) or "") + "\0" + (match.group(3) or "")


def skip(text, at, opening, closing):
    """Behind what closes the bracket at `at`."""
    depth = 0
    while True:
        if text[at] == '"':
            at = re.compile(r'"(?:[^"\\]|\\.)*"').match(text, at).end()
            continue
        depth += (text[at] == opening) - (text[at] == closing)
        at += 1
        if depth == 0:
            return at


def parse(text):
    at, statements = 0, []
    while True:
        at = re.compile(r"\s*").match(text, at).end()
        if at == len(text):
            return statements
        start, heads, bodies = at, [], []
        control = re.compile(r"(if|for|while) \(").match(text, at)
        if control:
            at = skip(text, control.end() - 1, "(", ")")
            heads.append(text[start:at])
            while True:
                body = text.index("{", at)
                at = skip(text, body, "{", "}")
                bodies.append(text[body + 1:at - 1])
                other = re.compile(r"\s*else (if \()?").match(text, at)
                if not other:
                    break
                at = skip(text, other.end() - 1, "(", ")") if other.group(1) else other.end()
                heads.append(text[other.start():at].strip())
        elif text[at] == "{":
            at = skip(text, at, "{", "}")
        else:
            while text[at] != ";":
                at = skip(text, at, text[at], {"(": ")", "{": "}"}[text[at]]) if text[at] in "({" else at + 1
            at += 1
        if control and control.group(1) == "if":
            statements.append(Statement(text[start:at], heads, bodies))
        else:
            statements.append(Statement(text[start:at]))


def successors(statements):
    """For each statement the numbers of those that have to come after it."""
    touched = collections.defaultdict(dict)  # name -> element -> [last writer, readers since]
    after = [set() for _ in statements]
    for number, statement in enumerate(statements):
        before = set()
        for accesses, writes in ((statement.reads, False), (statement.writes, True)):
            for name, element in accesses:
                for other, (writer, readers) in touched[name].items():
                    if element is None or other is None or element == other:
                        before.add(writer)
                        if writes:
                            before.update(readers)
        for earlier in before - {None, number}:
            after[earlier].add(number)
        for name, element in statement.reads:
            touched[name].setdefault(element, [None, []])[1].append(number)
        for name, element in statement.writes:
            touched[name][element] = [number, []]
    return after


# Loops

def progression(statements):
    """Start and step of each hole, if the statements are a loop as they stand."""
    holes = []
    for column in zip(*(statement.numbers for statement in statements)):
        step = column[1] - column[0]
        if any(later - earlier != step for earlier, later in zip(column, column[1:])):
            return None
        holes.append((column[0], step))
    return holes


def write_loop(statements, holes):
    first, *parts = statements[0].pattern.split("\0")
    text = first + "".join((f"{start}U" if step == 0 else f"({start}U + {step}U * i)") + part
                           for (start, step), part in zip(holes, parts))
    return f"for (unsigned i = 0; i < {len(statements)}U; ++i) {{ {text} }}\n"


def write_alone(statement):
    if statement.bodies is None:
        return statement.text + "\n"
    return " ".join(f"{head} {{\n{roll(body)}}}" for head, body in zip(statement.heads, statement.bodies)) + "\n"


def write_group(group):
    """Statements of one pattern that do not depend on one another."""
    group = sorted(group, key=lambda statement: statement.numbers)
    count = len(group)
    if count < LEAST or not group[0].numbers:
        return "".join(map(write_alone, group))
    for classes in (1, 2, 4, 8, 16, 32):  # elements of a wide word recur after so many
        if count % classes or count // classes < LEAST:
            break
        each = count // classes
        for split in ([group[i::classes] for i in range(classes)],
                      [group[i * each:(i + 1) * each] for i in range(classes)]):
            holes = list(map(progression, split))
            if None not in holes:
                return "".join(map(write_loop, split, holes))
    text, at = "", 0
    while at < count:
        end, holes = at + 1, None
        while end < count and (longer := progression(group[at:end + 1])) is not None:
            end, holes = end + 1, longer
        if end - at < LEAST:
            end = at + 1
            text += write_alone(group[at])
        else:
            text += write_loop(group[at:end], holes)
        at = end
    return text


def roll(text):
    """The statements in an order in which as many as possible of a pattern come together."""
    statements = parse(text)
    # Those with the same conditions come together too: one if.
    conditions = collections.Counter(tuple(s.heads) for s in statements if s.heads)
    kind = [tuple(s.heads) if s.heads and conditions[tuple(s.heads)] > 1 else s.pattern for s in statements]
    after = successors(statements)
    waits = collections.Counter(later for numbers in after for later in numbers)
    left, ready = collections.Counter(kind), collections.defaultdict(list)

    def urgency(k):  # what has nothing to wait for, whole groups, large groups
        alone = left[k] < (2 if isinstance(k, tuple) else LEAST)
        return not alone, len(ready[k]) < left[k], -len(ready[k]), ready[k][0]

    for number, k in enumerate(kind):
        if not waits[number]:
            ready[k].append(number)
    rolled = []
    while ready:
        k = min(ready, key=urgency)
        numbers = ready.pop(k)
        left[k] -= len(numbers)
        group = [statements[number] for number in numbers]
        if isinstance(k, tuple):
            rolled.append(write_alone(Statement("", k, ["".join(bodies) for bodies in zip(*(s.bodies for s in group))])))
        else:
            rolled.append(write_group(group))
        for later in sorted(later for number in numbers for later in after[number]):
            waits[later] -= 1
            if not waits[later]:
                ready[kind[later]].append(later)
    return "".join(rolled)


def roll_functions(text):
    """The functions that a clock edge runs."""
    parts, at = [], 0
    for head in re.finditer(r"(?m)^VL_INLINE_OPT void \w+___nba_sequent__\w+\([^)]*\) \{\n", text):
        end = text.index("\n}\n", head.end())
        start = text.find("// Body\n", head.end(), end)
        body = re.sub(r"#ifdef VL_DEBUG\n.*?\n#endif[^\n]*", "", text[start:end], flags=re.S)
        body = re.sub(r'(?m)(^|(?<=[;{}\s]))//[^\n"]*$', "", body)
        if start >= 0 and "\n#" not in body and "//" not in body:
            parts += [text[at:start], roll(body)]
            at = end
    return "".join(parts) + text[at:]


def transpose_memories(texts, arrays):
    """A memory per lane becomes one of rows, so that lanes at the same address are neighbours."""
    for array, (kind, _) in arrays.items():
        if not kind.startswith("VlUnpacked"):
            continue
        declaration = re.compile(rf"VlUnpacked<([^;\n]*), (\d+)> {array}\[(\d+)\];")
        found = {}
        for file, text in texts.items():
            text = declaration.sub(rf"VlUnpacked<VlUnpacked<\1, \3>, \2> {array}_;", text)
            parts, at = [], 0
            for use in re.finditer(rf"\b{array}(?=\[)", text):
                lane = skip(text, use.end(), "[", "]")
                address = re.compile(r"\s*").match(text, lane).end()
                if text[address] != "[":
                    break  # used as a whole
                end = skip(text, address, "[", "]")
                parts += [text[at:use.end()], "_", text[address:end], text[use.end():lane]]
                at = end
            else:
                found[file] = "".join(parts) + text[at:]
                continue
            break
        if len(found) == len(texts):
            texts.update(found)


def main():
    source, target = map(pathlib.Path, sys.argv[1:])
    texts = {file.name: file.read_text() for file in sorted(source.iterdir()) if file.suffix in (".cpp", ".h", ".mk")}
    design = {name: text for name, text in texts.items() if "___024root" in name}
    places, arrays = read_families(design.values())
    for name, text in design.items():
        text = replace_names(text, places, arrays)
        design[name] = roll_functions(text) if name.endswith(".cpp") else text
    transpose_memories(design, arrays)
    for name, text in (texts | design).items():
        (target / name).write_text(text)


if __name__ == "__main__":
    main()

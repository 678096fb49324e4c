# SPDX-License-Identifier: Apache-2.0
# For scripts/synth: cell libraries (Liberty), mapped netlists (Yosys JSON) and what is written from both: Verilog
# for timing, Verilog that simulates and counts transitions, and the energy of the counted transitions.
import array
import collections
import json
import re


class Refusal(Exception):
    """One sentence for the user."""


# ----------------------------------------------------------------------------------------------- Liberty
STATEMENT = re.compile(r'\s*(?:(\w+)\s*(?:\(\s*((?:"[^"]*"|[^"(){};])*)\)\s*(\{|;?)|:\s*("[^"]*"|[^;}\n]*?)\s*(?:;|\n|(?=\})))'
                       r'|(\})|;)')
SCALE = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}


class Group:
    def __init__(self, kind, arguments):
        self.kind, self.name = kind, arguments.strip().strip('"')
        self.values, self.groups = {}, []

    def all(self, kind):
        return [group for group in self.groups if group.kind == kind]

    def get(self, key, default=None):
        return self.values.get(key, default)


def read_groups(text):
    text = re.sub(r"\\\s*\n", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
    stack, at, root = [], 0, None
    while at < len(text):
        match = STATEMENT.match(text, at)
        if not match:
            if text[at:].strip():
                raise Refusal(f"not Liberty near '{text[at:at + 40].split(chr(10))[0].strip()}'")
            break
        at = match.end()
        word, arguments, opens, value, closes = match.groups()
        if closes:
            if not stack:
                raise Refusal("a closing brace too many")
            root = stack.pop()
        elif word and arguments is not None and opens == "{":
            group = Group(word, arguments)
            if stack:
                stack[-1].groups.append(group)
            stack.append(group)
        elif word and stack:
            stack[-1].values[word] = (value if arguments is None else arguments).strip().strip('"')
    if stack or root is None or root.kind != "library":
        raise Refusal("it is not one complete library group")
    return root


def numbers(text):
    return [float(value) for value in re.split(r'[\s,"]+', text or "") if value]


def verilog(function, names):
    """Liberty's Boolean expression in Verilog; names: pin to what stands for it."""
    tokens = re.findall(r"\w+|[!'*&+|^()]", function)
    at = 0

    def peek():
        return tokens[at] if at < len(tokens) else ""

    def step():
        nonlocal at
        at += 1
        return tokens[at - 1]

    def unary():
        if peek() == "!":
            step()
            return f"~{unary()}"
        if peek() == "(":
            step()
            term = f"({either()})"
            step()
        else:
            token = step()
            term = f"1'b{token}" if token in "01" else names[token]
        while peek() == "'":
            step()
            term = f"(~{term})"
        return term

    def exclusive():
        term = unary()
        while peek() == "^":
            step()
            term = f"({term} ^ {unary()})"
        return term

    def both():
        term = exclusive()
        while peek() and peek() not in "+|)":
            if peek() in "*&":
                step()
            term = f"({term} & {exclusive()})"
        return term

    def either():
        term = both()
        while peek() and peek() in "+|":
            step()
            term = f"({term} | {both()})"
        return term

    return either()


class Cell:
    def __init__(self, group):
        self.name, self.group = group.name, group
        self.area = float(group.get("area", 0))
        self.pins = {pin.name: pin for pin in group.all("pin")}
        self.inputs = [name for name, pin in self.pins.items() if pin.get("direction") == "input"]
        self.outputs = [name for name, pin in self.pins.items() if pin.get("direction") == "output"]
        self.state = (group.all("ff") or [None])[0]
        self.usable = not group.all("latch") and not group.all("statetable") and all(
            self.pins[name].get("function") is not None and self.pins[name].get("three_state") is None
            for name in self.outputs) and group.get("dont_use") != "true"
        self.clock = None
        if self.state:
            self.clock = re.sub(r"\W", "", self.state.get("clocked_on", ""))
            self.rising = self.state.get("clocked_on", "").strip("() ") == self.clock
        self.grounds = {pin.name for pin in group.all("pg_pin") if "ground" in pin.get("pg_type", "")}

    def capacitance(self, pin):
        return float(self.pins[pin].get("capacitance", 0))

    def is_function(self, wanted):
        """Whether the cell is a gate with the one output `wanted`, in which A is its only input."""
        if not self.usable or self.state or len(self.outputs) != 1 or len(self.inputs) > 1:
            return False
        function = re.sub(r"[\s()]", "", self.pins[self.outputs[0]].get("function"))
        function = "!" + function[:-1] if function.endswith("'") else function
        return function == wanted.replace("A", self.inputs[0] if self.inputs else "A")


class Library:
    def __init__(self, text):
        self.group = read_groups(text)
        self.cells = {group.name: Cell(group) for group in self.group.all("cell")}
        unit = re.match(r"(\d+)\s*([fpnum]?)s", self.group.get("time_unit", "1ns"))
        self.picoseconds = float(unit[1]) * SCALE[unit[2]] / 1e-12
        number, farads = re.match(r'([\d.]+)\s*,\s*"?([fpn])', self.group.get("capacitive_load_unit", "1,pf").lower()).groups()
        self.femtofarads = float(number) * SCALE[farads] / 1e-15
        self.volts = float(self.group.get("nom_voltage", 1.0))
        unit = re.match(r"(\d+)\s*([fpnum]?)W", self.group.get("leakage_power_unit", "1nW"))
        self.leakage_watts = float(unit[1]) * SCALE[unit[2]]
        self.templates = {group.name: group for group in self.group.groups if group.kind.endswith("_template")}
        self.energies = {}
        if not min(self.picoseconds, self.femtofarads, self.volts) > 0:
            raise Refusal("its units and voltage are not above 0")
        for cell in self.cells.values():  # a figure that is none is found here and not in the middle of the work
            self.leakage(cell)
            for pin in cell.inputs:
                cell.capacitance(pin)

        def smallest(kind):
            return sorted((cell for cell in self.cells.values() if kind(cell)), key=lambda cell: (cell.area, cell.name))
        self.buffers = smallest(lambda cell: cell.is_function("A"))
        self.inverters = smallest(lambda cell: cell.is_function("!A"))
        self.flops = smallest(lambda cell: cell.usable and cell.state and cell.rising and len(cell.inputs) == 2 and
                              re.sub(r"\W", "", cell.state.get("next_state", "")) in cell.inputs)
        ties = {value: smallest(lambda cell, value=value: cell.is_function(value)) for value in "01"}
        self.ties = {value: (cells[0].name, cells[0].outputs[0]) for value, cells in ties.items() if cells}
        gates = [cell for cell in self.cells.values() if cell.usable and not cell.state and len(cell.inputs) == 2]
        for what, found in (("rising-edge flip-flop without set and reset", self.flops), ("inverter", self.inverters),
                            ("buffer", self.buffers), ("gate of two inputs", gates)):
            if not found:
                raise Refusal(f"it has no {what}, which the netlist needs")

    def look_up(self, table, slew, load):
        """A table's value at the nearest corner not below (energies hardly depend on either)."""
        template = self.templates.get(table.name)
        axes = []
        for number in "12":
            text = table.get(f"index_{number}") or (template.get(f"index_{number}") if template else None)
            if text:
                kind = (template.get(f"variable_{number}") if template else "") or ""
                axes.append((numbers(text), load if "capacitance" in kind else slew))
        values = numbers(table.get("values"))
        at = 0
        parts = [(1.0, 0)]
        for axis, wanted in axes:
            low = max((index for index, value in enumerate(axis) if value <= wanted), default=0)
            low = min(low, max(len(axis) - 2, 0))
            part = 0.0
            if len(axis) > 1:
                part = min(max((wanted - axis[low]) / (axis[low + 1] - axis[low]), 0.0), 1.0)
            parts = [(weight * share, index * len(axis) + low + step) for weight, index in parts
                     for share, step in ((1 - part, 0), (part, 1)) if share]
        return sum(weight * values[min(index, len(values) - 1)] for weight, index in parts) if values else at

    def typical_slew(self, cell):
        for pin in cell.outputs:
            for timing in cell.pins[pin].all("timing"):
                for table in timing.groups:
                    template = self.templates.get(table.name)
                    axis = numbers(table.get("index_1") or (template.get("index_1") if template else ""))
                    if len(axis) > 2:
                        return axis[len(axis) // 3]
        return 0.0

    def pin_energy(self, cell, pin, load_ff):
        """Internal energy in fJ of one transition of a pin, both directions and all conditions alike."""
        key = (cell.name, pin, round(load_ff, 1))
        if key not in self.energies:
            slew, load = self.typical_slew(cell), load_ff / self.femtofarads
            values = []
            for group in cell.pins[pin].all("internal_power"):
                # Libraries may list the charge of both rails; it is the same charge.
                if group.get("related_pg_pin", "") not in cell.grounds:
                    tables = [table for table in group.groups if table.get("values")]
                    values += [sum(self.look_up(table, slew, load) for table in tables) / len(tables)] if tables else []
            self.energies[key] = (sum(values) / len(values) if values else 0.0) * self.femtofarads
        return self.energies[key]

    def leakage(self, cell):
        """Watts."""
        values = [float(group.get("value")) for group in cell.group.all("leakage_power")
                  if group.get("related_pg_pin", "") not in cell.grounds]
        value = sum(values) / len(values) if values else float(cell.group.get("cell_leakage_power", 0))
        return value * self.leakage_watts


# ----------------------------------------------------------------------------------------------- netlist
MEMORY_MODEL = """// As rtl/cells/lawcat_memory.sv, with defined contents.
module lawcat_memory #(parameter WIDTH = 16, parameter DEPTH = 16, parameter ADDRESS_WIDTH = (DEPTH > 1) ? $clog2(DEPTH) : 1) (
  input clk_i, input we_i, input [ADDRESS_WIDTH-1:0] waddr_i, input [WIDTH-1:0] wdata_i,
  input re_i, input [ADDRESS_WIDTH-1:0] raddr_i, output reg [WIDTH-1:0] rdata_o);
  reg [WIDTH-1:0] words [0:DEPTH-1];
  integer i;
  initial begin
    rdata_o = 0;
    for (i = 0; i < DEPTH; i = i + 1) words[i] = 0;
  end
  always @(posedge clk_i) begin
    if (we_i) words[waddr_i] <= wdata_i;
    if (re_i) rdata_o <= words[raddr_i];
  end
endmodule
"""


def clean(name):
    return re.sub(r"\W+", "_", name).strip("_")


class Module:
    """ports: name -> (direction, bits); cells: (name, type, {pin: bits}). A bit is a number, "0" or "1"."""

    def __init__(self, name):
        self.name, self.ports, self.cells, self.names = name, {}, [], {}
        self.next_bit = 2

    def new_bit(self):
        self.next_bit += 1
        return self.next_bit - 1


def memory_name(width, depth):
    return f"lawcat_memory_{width}x{depth}"


class Netlist:
    def __init__(self, library):
        self.library, self.modules, self.memories, self.delay = library, {}, {}, {}

    def is_module(self, kind):
        return kind in self.modules

    def add(self, text, top):
        """Takes over the modules that `top` needs; gives the name of top's module."""
        design = json.loads(text)["modules"]
        renamed = {}

        def take(name):
            if name in renamed:
                return renamed[name]
            source = design[name]
            own = name if name == top else clean(f"{top}__{re.sub(r'.*lawcat_', '', name)}")
            while own in self.modules:
                own += "_"
            renamed[name] = own
            module = self.modules[own] = Module(own)

            def fix(bits):
                return [bit if isinstance(bit, int) else "1" if bit == "1" else "0" for bit in bits]
            for port, data in source["ports"].items():
                module.ports[port] = (data["direction"], fix(data["bits"]))
            used = set()
            for label, data in source["cells"].items():
                kind = data["type"]
                pins = {pin: fix(bits) for pin, bits in data["connections"].items()}
                if kind == "lawcat_memory":
                    width, depth = (int(str(data["parameters"][key]), 2) for key in ("WIDTH", "DEPTH"))
                    kind = memory_name(width, depth)
                    self.memories[kind] = (width, depth)
                elif kind in design and not data["type"] in self.library.cells and kind not in self.modules:
                    kind = take(kind)
                elif kind not in self.library.cells and kind not in self.modules:
                    raise Refusal(f"{top}: the library has no cell for {kind}")
                plain = kind in self.library.cells and not self.library.cells[kind].state
                own_label = f"g{len(module.cells)}" if plain else clean(re.sub(r"_S?DFF\w*$", "", label))
                while own_label in used or own_label in module.ports:
                    own_label += "_"
                used.add(own_label)
                module.cells.append((own_label, kind, pins))
            bits = [bit for _, group in module.ports.values() for bit in group]
            bits += [bit for _, _, pins in module.cells for group in pins.values() for bit in group]
            module.next_bit = max([bit for bit in bits if isinstance(bit, int)], default=1) + 1
            self.separate_outputs(module)
            return own

        return take(top)

    def separate_outputs(self, module):
        """Ports that share a net or carry a constant get buffers, as wires in Verilog have one name each."""
        seen = {bit for direction, bits in module.ports.values() if direction == "input" for bit in bits}
        for port, (direction, bits) in module.ports.items():
            if direction != "output":
                continue
            for index, bit in enumerate(bits):
                if bit in seen or bit in ("0", "1"):
                    bits[index] = self.buffer(module, bit, 0)
                seen.add(bits[index])

    def buffer(self, module, bit, strength):
        cell = self.library.buffers[min(strength, len(self.library.buffers) - 1)]
        out = module.new_bit()
        module.cells.append((f"b{len(module.cells)}", cell.name, {cell.inputs[0]: [bit], cell.outputs[0]: [out]}))
        return out

    def spread(self, module, most=8):
        """Trees of buffers on nets with more than `most` pins of modules: logic synthesis saw each module alone."""
        sinks = collections.defaultdict(list)
        for _, kind, pins in module.cells:
            if kind not in self.library.cells:
                for pin, bits in pins.items():
                    if pin != "clk_i" and self.direction(kind, pin) == "input":
                        for index, bit in enumerate(bits):
                            if isinstance(bit, int):
                                sinks[bit].append((bits, index))
        for bit, users in sinks.items():
            while len(users) > most:
                following = []
                for first in range(0, len(users), most):
                    out = self.buffer(module, bit, len(self.library.buffers) // 2)
                    for bits, index in users[first:first + most]:
                        bits[index] = out
                    pins = module.cells[-1][2]
                    following.append((next(group for group in pins.values() if group == [bit]), 0))
                users = following

    def direction(self, kind, pin):
        if kind in self.library.cells:
            return self.library.cells[kind].pins[pin].get("direction")
        if kind in self.modules:
            return self.modules[kind].ports[pin][0]
        return "output" if pin == "rdata_o" else "input"

    def area(self, name):
        """(logic, cells, flip-flops, leakage) of a module with what it holds."""
        total = [0.0, 0, 0, 0.0]
        for _, kind, _ in self.modules[name].cells:
            if kind in self.library.cells:
                cell = self.library.cells[kind]
                total = [total[0] + cell.area, total[1] + 1, total[2] + (cell.state is not None),
                         total[3] + self.library.leakage(cell)]
            elif kind in self.modules:
                total = [a + b for a, b in zip(total, self.area(kind))]
        return total

    def memories_in(self, name):
        count = collections.Counter()
        for _, kind, _ in self.modules[name].cells:
            if kind in self.memories:
                count[kind] += 1
            elif kind in self.modules:
                count.update(self.memories_in(kind))
        return count

    # ------------------------------------------------------------------------------------------- Verilog
    def names(self, module):
        name = {"0": "1'b0", "1": "1'b1"}
        for port, (_, bits) in module.ports.items():
            for index, bit in enumerate(bits):
                name.setdefault(bit, f"{port}[{index}]" if len(bits) > 1 else port)
        inner = []
        for _, _, pins in module.cells:
            for bits in pins.values():
                for bit in bits:
                    if bit not in name:
                        name[bit] = f"n{bit}"
                        inner.append(name[bit])
        return name, inner

    def head(self, module, inner):
        lines = [f"module {module.name} ("]
        lines += [f"  {direction} {f'[{len(bits) - 1}:0] ' if len(bits) > 1 else ''}{port}{',' if more else ''}"
                  for more, (port, (direction, bits)) in zip(range(len(module.ports) - 1, -1, -1), module.ports.items())]
        lines.append(");")
        lines += [f"  wire {', '.join(inner[first:first + 16])};" for first in range(0, len(inner), 16)]
        return lines

    def instance(self, label, kind, pins, name):
        def joined(bits):
            return name[bits[0]] if len(bits) == 1 else "{" + ", ".join(name[bit] for bit in reversed(bits)) + "}"
        return f"  {kind} {label} ({', '.join(f'.{pin}({joined(bits)})' for pin, bits in pins.items() if bits)});"

    def structural(self, order):
        lines = []
        for module in (self.modules[name] for name in order):
            name, inner = self.names(module)
            lines += self.head(module, inner)
            lines += [self.instance(label, kind, pins, name) for label, kind, pins in module.cells]
            lines.append("endmodule")
        return "\n".join(lines) + "\n"

    def needed(self, top):
        """Modules under top, each before the one that uses it."""
        order = []

        def visit(name):
            for _, kind, _ in self.modules[name].cells:
                if kind in self.modules and kind not in order:
                    visit(kind)
            order.append(name)
        visit(top)
        return order

    def clock_bits(self, module):
        return {bit for port, (_, bits) in module.ports.items() if port == "clk_i" for bit in bits}

    def behavioural(self, order):
        """The same netlist in Verilog that simulates: each cell's function in its place (a scope per cell would not
        fit), flip-flops from arbitrary contents."""
        lines = []
        for module in (self.modules[name] for name in order):
            name, inner = self.names(module)
            lines += self.head(module, inner)
            flops = []
            for label, kind, pins in module.cells:
                cell = self.library.cells.get(kind)
                if kind in self.memories:
                    width, depth = self.memories[kind]
                    kind = f"lawcat_memory #(.WIDTH({width}), .DEPTH({depth}))"
                    lines.append(self.instance(label, kind, pins, name))
                elif cell is None:
                    lines.append(self.instance(label, kind, pins, name))
                elif cell.state:
                    flops.append((cell, pins))
                else:
                    place = {pin: name[pins[pin][0]] for pin in cell.inputs}
                    lines += [f"  assign {name[pins[pin][0]]} = {verilog(cell.pins[pin].get('function'), place)};"
                              for pin in cell.outputs if pin in pins]
            groups = collections.defaultdict(list)
            for cell, pins in flops:
                groups[(name[pins[cell.clock][0]], cell.rising)].append((cell, pins))
            count = 0
            for (clock, rising), members in groups.items():
                for first in range(0, len(members), 32):
                    part, reg = members[first:first + 32], f"r{count}"
                    count += 1
                    lines.append(f"  reg [{len(part) - 1}:0] {reg}; initial {reg} = $random;")
                    following = []
                    for index, (cell, pins) in enumerate(part):
                        state, inverse = (word.strip().strip('"') for word in cell.state.name.split(","))
                        place = {pin: name[pins[pin][0]] for pin in cell.inputs}
                        place.update({state: f"{reg}[{index}]", inverse: f"(~{reg}[{index}])"})
                        following.append(verilog(cell.state.get("next_state"), place))
                        lines += [f"  assign {name[pins[pin][0]]} = {verilog(cell.pins[pin].get('function'), place)};"
                                  for pin in cell.outputs if pin in pins]
                    edge = "posedge" if rising else "negedge"
                    lines.append(f"  always @({edge} {clock}) {reg} <= {{{', '.join(reversed(following))}}};")
            lines.append("endmodule")
        return "\n".join(lines) + "\n"

    # ------------------------------------------------------------------------------------------- simulation
    INPUTS = ("rst_ni", "enable_i", "head_dim_i", "feature_dim_i", "s_axis_tvalid_i", "s_axis_tdata_i", "s_axis_tlast_i",
              "m_axis_tready_i")
    OUTPUTS = ("s_axis_tready_o", "m_axis_tvalid_o", "m_axis_tdata_o", "m_axis_tlast_o", "head_done_o")

    def flat(self, top, wire_ff, timed, file):
        """Writes the netlist as synth_simulate reads it; gives the instances, (path, module, net of each bit), and the
        memories, (path, kind), in the order of its counters."""
        library, tables, functions = self.library, [], {}

        def table(cell, function, pins):
            key = (cell.name, function)
            if key not in functions:
                if len(pins) > 6:
                    raise Refusal(f"{cell.name} has more than six inputs")
                code = verilog(function, {pin: f"(i >> {number} & 1)" for number, pin in enumerate(pins)}).replace("1'b", "")
                code = compile(code, cell.name, "eval")
                value = sum((eval(code, {"i": index}) & 1) << index for index in range(64))
                functions[key] = len(tables)
                tables.append(value)
            return functions[key]

        nets, gates, flops, memories, instances = 2, [], [], [], []
        load = collections.Counter()

        def place(name, path, bits):
            nonlocal nets
            module = self.modules[name]

            def net(bit):
                nonlocal nets
                if bit not in bits:
                    bits[bit] = nets
                    nets += 1
                return bits[bit]
            bits.update({"0": 0, "1": 1})
            instances.append((path, name, bits))
            for label, kind, pins in module.cells:
                cell = library.cells.get(kind)
                if kind in self.memories:
                    memories.append((f"{path}.{label}", kind, {pin: [net(bit) for bit in group] for pin, group in pins.items()}))
                elif cell is None:
                    inner = self.modules[kind]
                    below = {}
                    for pin, (_, inner_bits) in inner.ports.items():
                        for bit, own in zip(pins.get(pin, []), inner_bits):
                            outer = net(bit)
                            if isinstance(own, int):
                                below[own] = outer
                    place(kind, f"{path}.{label}", below)
                else:
                    if timed:
                        for pin in cell.inputs:
                            load[net(pins[pin][0])] += cell.capacitance(pin) * library.femtofarads + wire_ff
                    if cell.state:
                        state, inverse = (word.strip().strip('"') for word in cell.state.name.split(","))
                        data = net(pins[[pin for pin in cell.inputs if pin != cell.clock][0]][0]) if len(cell.inputs) == 2 else None
                        following = cell.state.get("next_state")
                        if data is None:
                            names = [pin for pin in cell.inputs if pin != cell.clock] + [state]
                            raise Refusal(f"{cell.name} is a flip-flop of more than data and clock ({', '.join(names)})")
                        negated = "!" in following or "'" in following
                        for pin in cell.outputs:
                            if pin in pins:
                                function = re.sub(r"\W", "", cell.pins[pin].get("function"))
                                inverted = negated ^ (function == inverse) ^ ("!" in cell.pins[pin].get("function"))
                                flops.append((data, net(pins[pin][0]), int(inverted)))
                    else:
                        sources = [net(pins[pin][0]) for pin in cell.inputs]
                        for pin in cell.outputs:
                            if pin in pins:
                                gates.append((table(cell, cell.pins[pin].get("function"), cell.inputs), net(pins[pin][0]),
                                              cell, pin, sources))
        ports = {}
        for port, (_, group) in self.modules[top].ports.items():
            for bit in group:
                if bit not in ports:
                    ports[bit] = nets
                    nets += 1
        place(top, top, ports)
        out = array.array("i", [nets, int(timed), len(tables)])
        for value in tables:
            out.extend((value >> shift & 0xffffffff) - ((value >> shift & 0x80000000) << 1) for shift in (0, 32))
        out.append(len(gates))
        for number, output, cell, pin, sources in gates:
            rise, fall = self.delays(cell, pin, load[output]) if timed else (0, 0)
            out.extend([number, output, rise, fall, *sources, *[0] * (6 - len(sources))])
        out.append(len(flops))
        for flop in flops:
            out.extend(flop)
        out.append(len(memories))
        for _, kind, pins in memories:
            out.extend([*self.memories[kind], pins["we_i"][0], pins["re_i"][0]])
            for pin in ("waddr_i", "wdata_i", "raddr_i", "rdata_o"):
                group = [net if pin != "rdata_o" or net > 1 else -1 for net in pins[pin]]
                out.extend([len(group), *group])
        for names in (self.INPUTS, self.OUTPUTS):
            out.append(len(names))
            for name in names:
                group = [ports[bit] for bit in self.modules[top].ports[name][1]]
                out.extend([len(group), *group])
        out.tofile(file)
        return instances, memories

    def delays(self, cell, pin, load_ff):
        """Rise and fall of an output in ps, the mean over its inputs at a typical slew."""
        library = self.library
        key = (cell.name, pin, round(load_ff * 2))
        if key not in self.delay:
            slew, load = library.typical_slew(cell), load_ff / library.femtofarads
            result = []
            for kind in ("cell_rise", "cell_fall"):
                values = [library.look_up(group, slew, load) for timing in cell.pins[pin].all("timing") for group in timing.all(kind)]
                result.append(max(1, round(sum(values) / len(values) * library.picoseconds)) if values else 1)
            self.delay[key] = tuple(result)
        return self.delay[key]

    # ------------------------------------------------------------------------------------------- energy
    def net_energies(self, module, wire_ff):
        """fJ per transition of each watched net, and fJ per cycle of the clock's pins."""
        library = self.library
        load, driver, clock = collections.Counter(), {}, 0.0
        clocks = self.clock_bits(module)
        inputs = []
        for _, kind, pins in module.cells:
            cell = library.cells.get(kind)
            if cell is None:
                continue
            for pin, bits in pins.items():
                bit = bits[0]
                if pin in cell.outputs:
                    driver[bit] = (cell, pin)
                elif bit in clocks:
                    clock += (cell.capacitance(pin) * library.femtofarads + wire_ff) * library.volts ** 2
                    clock += 2 * library.pin_energy(cell, pin, 0.0)
                elif isinstance(bit, int):
                    load[bit] += cell.capacitance(pin) * library.femtofarads + wire_ff
                    inputs.append((bit, cell, pin))
        energy = collections.Counter()
        for bit, value in load.items():
            energy[bit] += 0.5 * value * library.volts ** 2
        for bit, (cell, pin) in driver.items():
            energy[bit] += library.pin_energy(cell, pin, load[bit])
        for bit, cell, pin in inputs:
            energy[bit] += library.pin_energy(cell, pin, 0.0)
        return energy, clock

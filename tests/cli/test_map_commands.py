"""``grug map`` as its user types it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import asyncclick as click
import pytest
import trio
from reportlab.pdfgen.canvas import Canvas

import grug
from grug.cli import main
from grug.cli.commands import cli
from grug.codec.csvmap import parse_map
from grug.codec.image import RegisterImage
from grug.mapimport.guess import Format
from grug.transport.line import Line
from grug.transport.maps import load_map, map_models
from grug.transport.pty import open_pty

DOCS = Path(__file__).parent.parent.parent / "docs" / "maps.md"

SEED = (
    "function,addr,addr_end,type,unit,name,name_for_id,usertype,decimals,description\n"
    '4,0x0B,,U16,"0,1V",Voltage,,float,1,\n'
    "4,13,,S16,1W,Active power,,float,,\n"
    '3,20,,U16,,State,,bitfield,,"BIT0 On\nBIT1 Fault"\n'
    "4,60,61,S32,0.01kWh,Énergie importée,,float,2,\n"
)


class Outcome:
    """What a command did."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


class Terminal:
    """Types commands in a directory of its own."""

    def __init__(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, directory: Path
    ) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.directory = directory
        monkeypatch.chdir(directory)

    def type(self, command: str) -> Outcome:
        """Run a command as the program would."""
        self._monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    def files(self) -> set[str]:
        """Names of all files there are, with their directories."""
        paths = self.directory.rglob("*")
        return {str(path.relative_to(self.directory)) for path in paths if path.is_file()}

    def write(self, name: str, content: str | bytes) -> None:
        """Put a file there."""
        data = content.encode() if isinstance(content, str) else content
        (self.directory / name).write_bytes(data)


@pytest.fixture
def terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Terminal:
    return Terminal(capsys, monkeypatch, tmp_path)


def test_import_writes_a_map_that_loads(terminal: Terminal) -> None:
    terminal.write("meter.csv", SEED)
    done = terminal.type("grug map import meter.csv -o maps/meter.csv")
    assert done.status == 0
    assert "4 registers in maps/meter.csv, 0 doubts, 0 left out" in done.err
    register_map = load_map("meter", terminal.directory / "maps")
    assert list(register_map.registers) == ["voltage", "active_power", "state", "energie_importee"]
    assert terminal.files() == {"meter.csv", "maps/meter.csv"}


def test_the_sidecar_holds_labels_and_where_the_map_comes_from(terminal: Terminal) -> None:
    terminal.write("meter.csv", SEED)
    terminal.type("grug map import meter.csv -o maps/meter.csv --sidecar")
    register_map = load_map("meter", terminal.directory / "maps")
    assert register_map["state"].labels_of(0b10) == ("Fault",)
    assert register_map.facts.source == "imported from meter.csv"
    assert register_map.facts.verified == "not checked"


def test_a_file_of_windows_is_read(terminal: Terminal) -> None:
    terminal.write("meter.csv", SEED.replace(",1V", ",1°C").replace("\n", "\r\n").encode("cp1252"))
    done = terminal.type("grug map import meter.csv -o maps/meter.csv")
    assert done.status == 0
    assert load_map("meter", terminal.directory / "maps")["voltage"].unit == "°C"


def test_without_output_the_map_goes_to_standard_output(terminal: Terminal) -> None:
    terminal.write("meter.csv", SEED)
    done = terminal.type("grug map import meter.csv")
    assert done.out.startswith("name,table,address,kind")
    assert done.out.count("\n") == 5
    assert terminal.files() == {"meter.csv"}


def test_bad_input_is_told_whole_and_nothing_is_written(terminal: Terminal) -> None:
    terminal.write(
        "bad.csv",
        SEED
        + "4,65536,,U16,,a,,int,,\n4,1,,U17,,b,,int,,\n4,2,,U16,0V,c,,int,,\n4,61,,U16,,d,,,,\n",
    )
    done = terminal.type("grug map import bad.csv -o maps/bad.csv --sidecar")
    assert done.status == 2
    for line, what in ((7, "addr"), (8, "type"), (9, "unit"), (10, "address")):
        assert re.search(rf"^bad\.csv:{line}: {what}: ", done.err, re.MULTILINE), done.err
    assert terminal.files() == {"bad.csv"}


def test_bad_rows_are_left_out_when_asked_and_listed(terminal: Terminal) -> None:
    terminal.write("bad.csv", SEED + "4,65536,,U16,,a,,int,,\n")
    done = terminal.type("grug map import bad.csv -o maps/bad.csv --skip-bad")
    assert done.status == 0
    assert "left out: bad.csv:7: addr: 65536 is outside 0..65535" in done.err
    text = (terminal.directory / "maps/bad.doubts.txt").read_text()
    assert "Left out (1):" in text


def test_a_map_that_is_there_is_not_replaced_unasked(terminal: Terminal) -> None:
    terminal.write("meter.csv", SEED)
    terminal.type("grug map import meter.csv -o maps/meter.csv")
    before = (terminal.directory / "maps/meter.csv").read_text()
    terminal.write("meter.csv", SEED.replace("Voltage", "Tension"))
    done = terminal.type("grug map import meter.csv -o maps/meter.csv --sidecar")
    assert done.status == 2
    assert "there already; --force replaces it" in done.err
    assert (terminal.directory / "maps/meter.csv").read_text() == before
    assert terminal.files() == {"meter.csv", "maps/meter.csv"}
    assert terminal.type("grug map import meter.csv -o maps/meter.csv --force").status == 0
    assert "tension" in (terminal.directory / "maps/meter.csv").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing familiar in it"),
        (b"just words\nand more\n", "nothing familiar in it"),
        (b"name,table,address,kind\na,input,1,u16\n", "it is a map already"),
        (b"%PDF-1.7\nand no more", "the PDF is cut off"),
        (b"modbus: [", "no valid YAML"),
        (b"\xff\xfe\x00\xd8", "nothing familiar in it"),
        (b"\x00" * 100, "nothing familiar in it"),
    ],
)
def test_what_is_no_source_is_refused(terminal: Terminal, content: bytes, message: str) -> None:
    terminal.write("source", content)
    done = terminal.type("grug map import source -o maps/x.csv")
    assert (done.status, terminal.files()) == (2, {"source"})
    assert message in done.err


def test_a_source_that_is_not_there_is_told(terminal: Terminal) -> None:
    done = terminal.type("grug map import nowhere.pdf -o maps/x.csv")
    assert done.status == 2
    assert "nowhere.pdf: cannot be read: No such file" in done.err


def test_where_nothing_can_be_written_nothing_stays_behind(terminal: Terminal) -> None:
    terminal.write("meter.csv", SEED)
    terminal.write("maps", "a file, not a directory")
    done = terminal.type("grug map import meter.csv -o maps/meter.csv --sidecar")
    assert done.status == 2
    assert "cannot be written" in done.err
    assert terminal.files() == {"meter.csv", "maps"}


def test_a_datasheet_becomes_a_map_with_a_list_of_doubts(terminal: Terminal) -> None:
    canvas = Canvas(str(terminal.directory / "sheet.pdf"), invariant=1)
    rows = [("Address", "Name", "Unit"), ("0x0010", "Voltage", "0.1V"), ("0x0011", "State", "")]
    for index, row in enumerate(rows):
        for column, text in enumerate(row):
            canvas.drawString(60 + 120 * column, 780 - 16 * index, text)
    canvas.save()
    done = terminal.type("grug map import sheet.pdf --table input -o maps/sheet.csv")
    assert done.status == 0
    assert "columns: Address -> address, Name -> name, Unit -> unit" in done.err
    assert "doubtful: sheet.csv:2: voltage: no type is stated; u16 taken" in done.err
    assert terminal.files() == {"sheet.pdf", "maps/sheet.csv", "maps/sheet.doubts.txt"}
    assert terminal.type("grug map check maps/sheet.csv").out == (
        "maps/sheet.csv: 2 registers, all good\n"
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--pages x", "first and last"),
        ("--pages 3-1", "first and last"),
        ("--format excel", "excel"),
        ("-o map.txt", "a map is a .csv file"),
    ],
)
def test_options_without_sense_are_refused(terminal: Terminal, option: str, message: str) -> None:
    done = terminal.type(f"grug map import sheet.pdf {option}")
    assert done.status == 2
    assert message in done.err


def test_check_shows_every_problem_at_its_cell(terminal: Terminal) -> None:
    terminal.write(
        "bad.csv",
        "name,table,address,kind,scale\na,input, 65536,u16,\na,input,1,u17,0\n"
        "b,input,2,u32,\nc,input,3,u16,\nb,input,9,u16,\n",
    )
    terminal.write("bad.toml", "words_max = 0\n\n  gap = 99\n")
    terminal.write("good.csv", "name,table,address,kind\na,input,1,u16\n")
    done = terminal.type("grug map check bad.csv good.csv missing.csv")
    assert done.status == 2
    assert "bad.csv:2:10: address: 65536 is outside" in done.err
    assert "bad.csv:3:11: kind: unknown kind 'u17'" in done.err
    assert "bad.csv:5:9: address: c overlaps b (line 4)" in done.err
    assert "bad.csv:6:1: name: b is already on line 4" in done.err
    assert "bad.toml:1:1: words_max" in done.err
    assert "bad.toml:3:3: gap" in done.err
    assert "missing.csv: cannot be read" in done.err
    assert done.out == "good.csv: 1 registers, all good\n"


def test_all_maps_that_come_with_grug_check(terminal: Terminal) -> None:
    done = terminal.type("grug map list")
    assert done.status == 0
    listed = [line.split()[0] for line in done.out.splitlines()[1:]]
    assert tuple(listed) == map_models()


def test_list_puts_a_users_own_maps_among_them(terminal: Terminal) -> None:
    (terminal.directory / "mine").mkdir()
    terminal.write("mine/heater.csv", "name,table,address,kind\nt,input,1,s16\n")
    terminal.write("mine/broken.csv", "name\n")
    done = terminal.type("grug map list --maps mine")
    assert done.status == 2
    assert re.search(r"^heater +1$", done.out, re.MULTILINE)
    assert "broken.csv:1: column table is missing" in done.err


def test_show_tells_registers_and_the_device(terminal: Terminal) -> None:
    done = terminal.type("grug map show eastron_sdm630 --registers 'phase_1_*'")
    assert done.status == 0
    assert "device: Eastron SDM630" in done.out
    assert re.search(r"^phase_1_power +input_register +12 +f32 +1 +W +read", done.out, re.M)
    assert "phase_2_power" not in done.out


def test_show_reads_a_file_and_names_the_nearest_model(terminal: Terminal) -> None:
    terminal.write("mine.csv", "name,table,address,kind\nt,input,1,s16\n")
    assert "\nt " in terminal.type("grug map show mine.csv").out
    done = terminal.type("grug map show eastron_sdm360")
    assert done.status == 2
    assert "did you mean 'eastron_sdm630'" in done.err


def test_diff_ends_with_1_when_maps_differ(terminal: Terminal) -> None:
    terminal.write("mine.csv", "name,table,address,kind,unit\nt,input,1,s16,K\n")
    terminal.write("yours.csv", "name,table,address,kind,unit\nt,input,1,s16,°C\n")
    done = terminal.type("grug map diff mine.csv yours.csv")
    assert (done.status, done.out) == (1, "~ t: unit K -> °C\n")
    assert terminal.type("grug map diff mine.csv mine.csv").status == 0
    assert terminal.type("grug map diff mine.csv missing.csv").status == 2


def draw_datasheet(path: Path) -> None:
    """A page with a table of registers."""
    rows = [
        ("Register", "Name", "Type", "Unit"),
        ("30001", "Voltage", "U16", "0.1V"),
        ("30002", "Power", "S32", "W"),
    ]
    canvas = Canvas(str(path), invariant=1)
    for index, row in enumerate(rows):
        for column, text in enumerate(row):
            canvas.drawString(60 + 120 * column, 780 - 16 * index, text)
    canvas.save()


async def run_grug(directory: Path, *arguments: str) -> str:
    """Run the program itself; gives what it printed."""
    command = [sys.executable, "-m", "grug", *arguments]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, cwd=directory)
    return done.stdout.decode()


@pytest.mark.slow
async def test_three_commands_lead_from_a_datasheet_to_a_live_reading(tmp_path: Path) -> None:
    draw_datasheet(tmp_path / "pump.pdf")
    await run_grug(tmp_path, "map", "import", "pump.pdf", "-o", "maps/pump.csv")
    assert "2 registers, all good" in await run_grug(tmp_path, "map", "check", "maps/pump.csv")
    image = RegisterImage(load_map("pump", tmp_path / "maps"))
    image.set_many(("voltage", "power"), (230.1, -1500))

    async def open_far_end() -> Line:
        await trio.lowlevel.checkpoint()
        return open_pty(tmp_path / "port")

    async with trio.open_nursery() as nursery:
        await nursery.start(grug.serve, open_far_end, 1, image)
        options = ("--map", "maps/pump.csv", "--unit", "1")
        shown = await run_grug(tmp_path, "read", "port", *options, "voltage", "power")
        nursery.cancel_scope.cancel()
    assert [line.split() for line in shown.splitlines()] == [
        ["voltage", "230.1", "V"],
        ["power", "-1500", "W"],
    ]


def test_the_map_in_the_docs_is_good() -> None:
    text = DOCS.read_text()
    (rows,) = re.findall(r"^```csv\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (sidecar,) = re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    register_map = parse_map("heatpump", rows, sidecar, "maps.md")
    assert register_map["operating_mode"].labels_of(1) == ("heating",)


def test_the_docs_name_every_format() -> None:
    formats = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(formats) == sorted(Format)


def commands_of_the_docs() -> list[str]:
    return re.findall(r"^    (grug .+)$", DOCS.read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", commands_of_the_docs())
async def test_grug_understands_every_command_of_the_docs(command: str) -> None:
    group: click.Command = cli
    words = shlex.split(command, comments=True)[1:]
    context = click.Context(cli, info_name="grug")
    while isinstance(group, click.Group):
        name = words.pop(0)
        assert name in group.commands, f"there is no command {name} in: {command}"
        group = group.commands[name]
    await group.make_context(group.name, words, parent=context)

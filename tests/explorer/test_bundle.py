"""Modules become one script that does what the modules do; what is not understood is refused."""

import pytest

from torchcaps.explorer.bundle import BundleError, bundle


def write(folder, **modules):
    for name, text in modules.items():
        path = folder / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def run(open_page, folder):
    """What the bundled module main.js leaves in globalThis.found."""
    path = folder / "page.html"
    path.write_text(f'<meta charset="utf-8"><script>{bundle(folder, "main.js")}</script>')
    return open_page(path).evaluate("globalThis.found")


def test_every_form_that_is_taken(open_page, tmp_path):
    write(
        tmp_path,
        main='import { two, Box, later, count, $odd_name } from "./a-b.js";\n'
        'import {\n  one,\n  three,\n} from "./c.js";\n'
        "const found = [one(), two, three, new Box().inside, typeof later, [...count()],\n"
        "  $odd_name];\n"
        "globalThis.found = found; // ends in a comment",
        **{
            "a-b": 'import { one } from "./c.js";\n'
            "export const two = one() + 1;\nexport class Box { inside = 'b'; }\n"
            "export async function later() {}\nexport function* count() { yield 1; yield 2; }\n"
            "export const $odd_name = 7;\n"
        },
        c="let hidden = 1;\nexport function one() { return hidden; }\nexport const three = 3;\n",
    )
    assert run(open_page, tmp_path) == [1, 2, 3, "b", "function", [1, 2], 7]


def test_modules_in_folders(open_page, tmp_path):
    """Each import is read from where its module lies; names that differ by their folder differ."""
    write(
        tmp_path,
        main='import { a } from "./one/a.js";\nimport { b } from "./one/two/b.js";\n'
        'import { c } from "./one-a.js";\nglobalThis.found = [a, b, c];\n',
        **{
            "one/a": 'import { two } from "./two/two.js";\nexport const a = ["one/a", two];\n',
            "one/two/b": 'import { a } from "../../two/a.js";\nimport { two } from "./two.js";\n'
            'export const b = ["one/two/b", a, two];\n',
            "one/two/two": "export const two = 2;\n",
            "two/a": 'import { c } from "../one-a.js";\nexport const a = ["two/a", c];\n',
            "one-a": 'export const c = "one-a";\n',
        },
    )
    assert run(open_page, tmp_path) == [["one/a", 2], ["one/two/b", ["two/a", "one-a"], 2], "one-a"]


def test_names_of_one_module_are_not_seen_in_another(open_page, tmp_path):
    write(
        tmp_path,
        main='import { a } from "./a.js";\nconst hidden = 1;\nglobalThis.found = '
        "[hidden, a, typeof other, typeof globalThis.hidden];\n",
        a="const hidden = 2;\nconst other = 3;\nexport const a = hidden;\n",
    )
    assert run(open_page, tmp_path) == [1, 2, "undefined", "undefined"]


def test_a_module_that_many_import_runs_once(open_page, tmp_path):
    write(
        tmp_path,
        main='import { x } from "./a.js";\nimport { y } from "./b.js";\n'
        "globalThis.found = [x === y, globalThis.times];\n",
        a='import { it } from "./once.js";\nexport const x = it;\n',
        b='import { it } from "./once.js";\nexport const y = it;\n',
        once="globalThis.times = (globalThis.times ?? 0) + 1;\nexport const it = {};\n",
    )
    assert run(open_page, tmp_path) == [True, 1]


def test_lines_are_as_many_as_in_the_modules(tmp_path):
    """So that a line that a browser names is quickly found."""
    write(
        tmp_path,
        main='import {\n  a,\n} from "./a.js";\nline4();\n',
        a="export const a = 1;\n",
    )
    text = bundle(tmp_path, "main.js").split("\n")
    first = next(k for k, line in enumerate(text) if "// main.js" in line)
    assert text[first + 4] == "line4();"


REFUSED = {
    "default export": "export default function a() {}",
    "list of exports": "const a = 1;\nexport { a };",
    "export of let": "export let a = 1;",
    "export from elsewhere": 'export * from "./a.js";',
    "destructured export": "export const { a } = {};",
    "whole module": 'import * as all from "./a.js";',
    "default import": 'import a from "./a.js";',
    "renaming import": 'import { a as b } from "./a.js";',
    "import for its effect": 'import "./a.js";',
    "no address": 'import { a } from "a.js";',
    "from the root": 'import { a } from "/a.js";',
    "here and up": 'import { a } from "./../a.js";',
    "down and up again": 'import { a } from "./folder/../a.js";',
    "another kind of file": 'import { a } from "./a.mjs";',
    "other place": 'import { a } from "https://example.org/a.js";',
    "import when needed": 'const a = await import("./a.js");',
    "place of the module": "const here = import.meta.url;",
    "end of the element": 'const text = "</script >";',
    "start of a comment": 'const text = "<!--";',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_refused_with_file_and_line(tmp_path, text):
    write(tmp_path, main=f"const first = 1;\n{text}\n", a="export const a = 1;\n")
    with pytest.raises(BundleError, match=r"main\.js, line [23]: cannot bundle"):
        bundle(tmp_path, "main.js")


@pytest.mark.parametrize("address", ["../../a.js", "../../other/a.js", "../../../a.js"])
def test_nothing_is_taken_from_outside_the_folder(tmp_path, address):
    page = tmp_path / "work" / "page"
    write(
        page,
        main='import { go } from "./input/go.js";\n',
        **{"input/go": f'const first = 1;\nimport {{ a }} from "{address}";\n'},
    )
    write((page / "input" / address).parent, a="export const a = 1;\n")  # it is there
    with pytest.raises(BundleError, match=rf"input/go\.js, line 2: {address} is outside the fold"):
        bundle(page, "main.js")


def test_what_is_not_there_is_named(tmp_path):
    write(tmp_path, main='import { a } from "./none.js";\n')
    with pytest.raises(BundleError, match=r"main\.js: there is no module none\.js in "):
        bundle(tmp_path, "main.js")
    write(tmp_path, main='\nimport { a, b } from "./a.js";\n', a="export const a = 1;\n")
    with pytest.raises(BundleError, match=r"main\.js, line 2: a\.js does not export b"):
        bundle(tmp_path, "main.js")


def test_modules_that_import_each_other(tmp_path):
    write(
        tmp_path,
        main='import { a } from "./a.js";\nexport const m = 1;\n',
        a='import { m } from "./main.js";\nexport const a = 1;\n',
    )
    with pytest.raises(BundleError, match=r"import each other: .*main\.js"):
        bundle(tmp_path, "main.js")


def test_the_same_modules_make_the_same_script_in_every_process(tmp_path):
    """Their order is that of the imports, and not that of a set."""
    names = [f"m{number}" for number in range(9)]
    imports = "".join(f'import {{ {name} }} from "./{name}.js";\n' for name in names)
    write(tmp_path, main=imports, **{name: f"export const {name} = 1;\n" for name in names})
    script = bundle(tmp_path, "main.js")
    places = [script.index(f"// {name}.js\n") for name in names]
    assert places == sorted(places)

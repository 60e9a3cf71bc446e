"""The exporter's table of routings is the page's own."""

from tests.engine_page import write_engine_page
from torchcaps.explorer.routings import PAGE_ROUTINGS

# What a routing reads of its settings, where it runs more than one iteration.
READ = """
(name) => {
  const read = new Set();
  const settings = new Proxy({ name, iterations: 2, final_lambda: null }, {
    get: (target, option) => { read.add(option); return target[option]; },
  });
  const learned = new Proxy({}, { get: () => new Float32Array(2) });
  const activation = new Float32Array(3);
  engine.route(
    { values: new Float32Array(12).fill(0.5), I: 3, J: 2, D: 2, activation, learned }, settings);
  return [...read].sort();
}
"""


def test_names_and_options_are_those_of_the_page(open_page, tmp_path):
    page = open_page(write_engine_page(tmp_path))
    assert page.evaluate("Object.keys(engine.ROUTINGS)") == list(PAGE_ROUTINGS)
    for name, options in PAGE_ROUTINGS.items():
        assert page.evaluate(READ, name) == sorted(["name", *options])


def test_a_routing_that_the_page_does_not_have(open_page, tmp_path):
    page = open_page(write_engine_page(tmp_path))
    said = page.evaluate(
        """() => {
          try {
            engine.route({ values: new Float32Array(4), I: 1, J: 2, D: 2 }, { name: "other" });
          } catch (error) { return error.message; }
        }"""
    )
    assert said == "this page has no routing other"

"""Which way imports go: the tables below are the documentation, the tests hold the code to them."""

import ast
import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "likelier"

# From the ground up. A unit is a file or a folder. It imports itself and units of lower floors, never up. Units of one
# floor see each other only on the ground: stages meet in files on disk and in records.
FLOORS = [
    (
        "ground: no torch",
        [
            "",
            "addresses",
            "errors",
            "files",
            "progress",
            "terminal",
            "metrics",
            "stages",
            "intervals",
            "noise",
            "services",
            "trackers",
            "userfile",
            "jobs",
        ],
    ),
    ("the algorithms of RLHF as data, which settings and training read: no torch", ["ppo.algorithms"]),
    ("words and settings", ["records", "config"]),
    ("several processes", ["distributed"]),
    ("PPO as functions of tensors", ["ppo"]),
    ("tools: run folders, what every training loop needs", ["runs", "training"]),
    ("language models, tabular MDPs", ["text", "mdp"]),
    ("inference engines and servers, as samplers", ["engines"]),
    ("environments", ["control"]),
    ("stages, in the order of the circle", ["feedback", "preferences", "candidates", "generation", "reward"]),
    ("what judges a model, what names its faults, what is asked next", ["evaluation", "doctor", "explain", "asking"]),
    ("training a language model: the loop of RLHF, and what needs no sampling", ["rlhf", "finetune"]),
    ("training a model of pictures", ["images"]),
    ("what is true, what goes wrong", ["prove", "bugs"]),
    ("pages", ["report", "web"]),
    ("what joins stages", ["circle", "search", "plan"]),
    ("demo", ["demo"]),
    ("the Python interface", ["api"]),
    ("command line", ["cli"]),
    ("on top", ["__main__"]),
]

# A package, and the only units that may import it.
FENCES = {
    "torch": [
        "distributed",
        "runs.shared",
        "training",
        "ppo",
        "text",
        "engines",
        "control",
        "mdp",
        "candidates",
        "generation.sampling",
        "reward",
        "evaluation",
        "doctor",
        "rlhf",
        "finetune",
        "images",
        "prove",
        "bugs",
        "search",
        "plan",
        "demo",
        "cli.env",
    ],
    "transformers": ["text", "reward", "rlhf", "finetune", "evaluation", "plan", "demo.make_model"],
    "tokenizers": ["text", "finetune.from_scratch", "demo"],
    "peft": ["text"],
    "vllm": ["engines.worker"],
    "liger_kernel": ["text.liger"],
    "safetensors": ["training", "text"],
    "gymnasium": ["control", "mdp.env"],
    "sqlalchemy": [
        "feedback.shown",
        "feedback.store",
        "feedback.database",
        "feedback.open_database",
        "feedback.tables",
        "feedback.projects",
        "feedback.rows",
        "feedback.rankings",
        "feedback.ratings",
        "feedback.writer",
        "feedback.accounts",
        "feedback.secret",
        "feedback.erase",
        "feedback.screens",
        "feedback.disagreements",
        "feedback.migrations",
    ],
    "alembic": ["feedback.migrations"],
    "fastapi": ["web"],
    "starlette": ["web"],
    "uvicorn": ["web"],
    "pyarrow": ["feedback.formats"],
    "datasets": ["feedback.formats"],
    "sacrebleu": ["reward.functions"],
    "rouge_score": ["reward.functions"],
    "typer": ["cli"],
    "filelock": ["runs.folder", "feedback.database"],
}
# These two names are the types of models and tokenizers in signatures; whoever passes one on may name its type.
TYPES = {"transformers.PreTrainedModel", "transformers.PreTrainedTokenizerBase"}

# What a unit may import from outside, where that is less than everything.
ONLY = {"ppo": {"torch", "jaxtyping"}}

NEVER = {"pickle", "dill", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "hasattr", "torch.load", "yaml.load", "yaml.unsafe_load"}


@cache
def modules():
    """Name below `likelier` (empty for the package itself) and syntax tree of each file."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def within(name, unit):
    """Whether a module is that unit or lies in it. The empty unit is the package's own `__init__`."""
    return name == unit or (unit != "" and name.startswith(f"{unit}."))


@cache
def unit_of(name):
    """The longest unit of the table that holds a module."""
    units = [unit for _, floor in FLOORS for unit in floor if within(name, unit)]
    assert units, f"likelier.{name} stands on no floor: give it a place in FLOORS"
    return max(units, key=len)


def floor_of(name):
    return next(at for at, (_, floor) in enumerate(FLOORS) if unit_of(name) in floor)


def imports(tree):
    """Full dotted names of all that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_nothing(node):
    """`if TYPE_CHECKING:`, which never runs. The package's `__init__` names the Python interface there, for editors."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def own_imports(name):
    """Modules of Likelier that a module imports, by their names below `likelier`."""
    tree = modules()[name]
    if name == "":
        tree = ast.Module([node for node in tree.body if not imports_nothing(node)], [])
    for target in imports(tree):
        if target == "likelier" or target.startswith("likelier."):
            below = target.removeprefix("likelier").removeprefix(".")
            yield below if below in modules() else below.rpartition(".")[0]


def foreign_imports(name):
    return [target for target in imports(modules()[name]) if target.partition(".")[0] != "likelier"]


def test_imports_go_down():
    up = []
    for name in modules():
        for target in own_imports(name):
            same = unit_of(name) == unit_of(target)
            ground = floor_of(name) == floor_of(target) == 0
            if not (same or ground or floor_of(target) < floor_of(name)):
                up.append(f"{name} imports {target}")
    assert up == []


@pytest.mark.parametrize("package", FENCES)
def test_fences(package):
    outside = [
        f"{name} imports {target}"
        for name in modules()
        for target in foreign_imports(name)
        if within(target, package) and target not in TYPES and not any(within(name, unit) for unit in FENCES[package])
    ]
    assert outside == []


@pytest.mark.parametrize("unit", ONLY)
def test_units_that_stand_alone(unit):
    allowed = ONLY[unit]
    for name in filter(lambda name: within(name, unit), modules()):
        used = {target.partition(".")[0] for target in foreign_imports(name)}
        outside = {package for package in used if importlib.util.find_spec(package) and not built_in(package)}
        assert outside <= allowed, name
        lower = {"config", "distributed"} | {each for each in modules() if floor_of(each) == 0}
        assert all(within(target, unit) or unit_of(target) in lower for target in own_imports(name)), name


def test_an_annotation_server_needs_no_torch():
    light = ["errors", "records", "config", "runs", "feedback", "preferences", "report", "web", "cli", "metrics"]
    light += ["generation.process", "generation.policies", "generation.worker"]
    chosen = [name for name in modules() if any(within(name, unit) for unit in light) and "migrations" not in name]
    script = f"import sys; [__import__(name) for name in {[f'likelier.{name}' for name in chosen]}]; "
    script += "print([heavy for heavy in ('torch', 'transformers', 'gymnasium') if heavy in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_page_is_served_by_the_core_packages_alone():
    """Whatever only an extra brings is absent, and what takes long is not imported before it is needed."""
    absent = ("torch", "transformers", "huggingface_hub", "safetensors", "tokenizers", "psycopg", "pyarrow", "httpx2")
    late = ("scipy", "alembic", "likelier.config", "sqlalchemy.dialects.postgresql")
    script = f"import sys; sys.modules |= dict.fromkeys({absent}); import likelier.cli.serve, likelier.web.server; "
    script += f"print([name for name in {late} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def built_in(package):
    return package in sys.stdlib_module_names


def test_every_unit_is_there():
    assert [unit for _, floor in FLOORS for unit in floor if unit not in modules()] == []


def test_the_root_is_small():
    assert len([path for path in SOURCE.iterdir() if path.is_file()]) <= 16


def called(node):
    """`a.b` of a call to a.b(...)."""
    return ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""


def test_nothing_that_could_run_a_users_data():
    found = []
    for name, tree in modules().items():
        found += [f"{name} imports {target}" for target in imports(tree) if target.partition(".")[0] in NEVER]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in FORBIDDEN_CALLS:
                found.append(f"{name}:{node.lineno} calls {called(node)}")
            if isinstance(node, ast.keyword) and node.arg == "shell":
                found.append(f"{name}:{node.value.lineno} passes shell=")
    assert found == []


def test_no_bare_except():
    bare = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


def test_every_module_says_what_it_is_for():
    assert [name for name, tree in modules().items() if not ast.get_docstring(tree)] == []


def test_files_and_functions_are_small_enough_to_read():
    """300 lines a file is the smell and 400 the limit; 60 lines a function, 45 for the training loops."""
    lengths = {path.relative_to(SOURCE).as_posix(): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {path for path, count in lengths.items() if count > 400} == set()
    long_functions = [
        f"{name}.{node.name}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > 60
    ]
    assert long_functions == []


LOOPS = ("rlhf.train.train_against", "control.train.train_gym", "finetune.sft.train_sft", "finetune.dpo.train_dpo")
LOOPS += ("reward.train.train_reward", "ppo.update.ppo_update")


def test_a_training_loop_fits_on_a_page():
    lengths = {
        f"{name}.{node.name}": node.end_lineno - node.lineno + 1
        for name, tree in modules().items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    assert {loop: lengths[loop] for loop in LOOPS if lengths[loop] > 45} == {}

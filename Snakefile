# How the book is made: notebooks run by papermill, then rendered by Jupyter Book. `make book` calls it, and `make sweep`
# for many runs of some notebooks. On a cluster: make book CLUSTER=slurm PROFILE=paper
import json
import shlex
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir, "book/tools")))

PROFILE = config.get("profile", "tiny")
# Without a value snakemake makes it None, for which shlex would wait to read from the terminal.
PARAMETERS = config.get("parameters") or ""
NOTEBOOKS = sorted(path.stem for path in Path("notebooks").glob("*.ipynb"))
EXECUTED = expand("build/executed/{profile}/{notebook}.ipynb", profile=PROFILE, notebook=NOTEBOOKS)
# Pages that also run with random weights, as a control of their claims.
CONTROLLED = (
    "04_representation_structure",
    "05_local_global",
    "06_skip_connections",
    "07_spatial_localization",
    "C_local_global",
    "E_propagation",
    "H_mixer",
)
UNTRAINED = [notebook for notebook in NOTEBOOKS if notebook in CONTROLLED]
CONTROLS = expand("build/executed/{profile}/untrained/{notebook}.ipynb", profile=PROFILE, notebook=UNTRAINED)
# Pages that are about the tiny networks: a larger profile has nothing to add.
TINY_ALONE = {"tiny_networks", "uncertainty"}
# The book at tiny also shows the results of larger networks that are in the repository.
KEPT = sorted(str(path) for path in Path("results").rglob("*.ipynb")) if PROFILE == "tiny" else []
SHOWN = EXECUTED + CONTROLS + KEPT
NEEDS_GPU = ("colab", "paper")
# Jobs of a cluster, not of this machine.
CLUSTER = config.get("cluster")
if CLUSTER:
    import asks
RUNNER = ["book/tools/run_notebook.py", "book/tools/gpus.py", "book/tools/fingerprint.py"]
READERS = [f"book/tools/{name}.py" for name in ("executed", "results", "run_notebook", "fingerprint", "gpus")]
STAGED_BY = ("citations", "explorers", "folding", "judging", "measured_costs", "photographs", "scoreboard")
EXTENSION = ["book/tools/sphinx_extension.py", "book/tools/card.py", "book/tools/layout.html"]
RUN_NOTEBOOK = "OMP_NUM_THREADS={threads} {sys.executable:q} {input.runner[0]} {input.notebook} {output} {params.options}"
# Where no notebook is to be run, as by `make render`, the executed ones that are there are taken, wherever they were run.
RUN = config.get("run") != "no"

# Notebooks run side by side as far as their memory goes: what each held when its result was made.
MEMORY_MB = int(config.get("memory_mb", 8000))
USUAL_MB = 1500 if PROFILE == "tiny" else 4000


def memory_mb(wildcards):
    """The memory of a notebook. It is a hint: where there is less altogether, it runs alone."""
    result = Path("results", PROFILE, f"{wildcards.notebook}.ipynb")
    try:
        held = json.loads(result.read_text())["metadata"]["seelike"]["peak_memory_mb"]
    except (OSError, ValueError, KeyError):
        held = None  # there is no such result; a damaged one is named where it is read
    return min(held or USUAL_MB, MEMORY_MB)


def asked(profile):
    """What a notebook asks a cluster for; where that was too little, twice as much the second time."""
    if not CLUSTER:
        return {}
    return {
        "runtime": lambda wildcards, attempt: attempt * asks.asks(profile, wildcards.notebook)[0],
        "mem_mb": lambda wildcards, attempt: attempt * asks.asks(profile, wildcards.notebook)[1],
    }


def cores_of_each(profile, notebooks):
    """All cores when there are more of them than notebooks."""
    return asks.cores(profile) if CLUSTER else max(1, (workflow.cores or 1) // max(1, notebooks))


# What every notebook works with. Training is not part of it: its results, the checkpoints, are.
LIBRARY = sorted(
    str(path)
    for path in Path("lib/seelike").rglob("*")
    if path.is_file()
    and "__pycache__" not in path.parts
    and path.name != "train.py"
    and path.suffix not in (".js", ".css")
)
# What draws explorers in a page: no notebook needs it.
SCRIPTS = sorted(str(path) for path in Path("lib/seelike/plots/explorers").glob("*") if path.suffix in (".js", ".css"))
PAGES = ["_config.yml", "_toc.yml", "CONTRIBUTING.md", "results/README.md"] + sorted(
    str(path)
    for path in Path("book").rglob("*")
    if path.is_file() and not {"__pycache__", "tools"} & set(path.parts)
)
PAGES += sorted(str(path) for path in Path("benchmarks/results").iterdir() if path.suffix in (".md", ".png"))


def parameters(*more):
    """The notebooks' parameters, as pairs of names and texts."""
    pairs = [("profile", PROFILE), *(pair.split("=", 1) for pair in shlex.split(PARAMETERS)), *more]
    for pair in pairs:
        if len(pair) != 2:
            raise WorkflowError(f"PARAMETERS needs NAME=VALUE, separated by spaces; got {pair[0]!r}.")
    return pairs


def options(*more):
    """The command-line options that set them."""
    return " ".join(f"-p {shlex.quote(name)} {shlex.quote(value)}" for name, value in parameters(*more))


# Of a control, three draws of one minibatch each do for an interval. Another profile is refused where it is used.
AMOUNTS = tomllib.loads(Path("lib/seelike/profiles.toml").read_text()).get(PROFILE, {})
RANDOM = [("weights", "random"), ("repeats", "3"), ("number_of_images", str(AMOUNTS.get("batch_size", "None")))]


wildcard_constraints:
    notebook="[^/]+",



def pages_before(wildcards):
    """The discussion looks back at all other pages and their controls; these look at none."""
    return [path for path in EXECUTED + CONTROLS if "09_discussion" not in path] if wildcards.notebook == "09_discussion" else []


localrules: all, assets, stage, render, pack, results


rule all:
    input: "build/html/index.html"


if RUN:

    rule notebook:
        input:
            notebook="notebooks/{notebook}.ipynb",
            runner=RUNNER,
            lock="requirements.lock",
            library=LIBRARY,
            before=pages_before,
        output: "build/executed/" + PROFILE + "/{notebook}.ipynb"
        params: options=options()
        threads: cores_of_each(PROFILE, len(NOTEBOOKS))
        resources: gpu=int(PROFILE in NEEDS_GPU), memory_mb=memory_mb, **asked(PROFILE)
        shell: RUN_NOTEBOOK

    use rule notebook as untrained with:
        output: "build/executed/" + PROFILE + "/untrained/{notebook}.ipynb"
        params: options=options(*RANDOM)

elif not {"sweep", "results"} & set(config) and (missing := [path for path in EXECUTED + CONTROLS if not Path(path).exists()]):
    raise WorkflowError(
        f"Of {len(EXECUTED + CONTROLS)} executed notebooks these are not there: {', '.join(missing)}. "
        f"Run them: make book PROFILE={PROFILE}."
    )


rule pack:
    input:
        # Of larger networks the results, which make pack makes before: see the Makefile.
        executed=EXECUTED + CONTROLS if PROFILE == "tiny" else sorted(map(str, Path("results", PROFILE).rglob("*.ipynb"))),
        script="book/tools/pack.py",
        parts=READERS,
    output: f"build/executed-{PROFILE}.tar.gz"
    shell: "{sys.executable:q} {input.script} pack {output} {input.executed}"


rule assets:
    input: "package.json", "package-lock.json", "book/tools/widgets.js", "book/tools/scoreboard.js", script="book/tools/assets.py"
    output: directory("build/assets")
    shell: "{sys.executable:q} {input.script}"


rule stage:
    input:
        PAGES,
        executed=SHOWN,
        script="book/tools/stage.py",
        parts=[f"book/tools/{name}.py" for name in STAGED_BY] + ["book/tools/rule.svg"] + EXTENSION + READERS,
        photographs=[path for path in LIBRARY if "/photographs" in path],
        scripts=SCRIPTS,
        # A page says so where its result is older than the notebook or the library.
        code=[f"notebooks/{notebook}.ipynb" for notebook in NOTEBOOKS] + LIBRARY if KEPT else [],
    output: "build/book/_toc.yml"
    shell: "{sys.executable:q} {input.script} {input.executed}"


rule render:
    input:
        "build/book/_toc.yml",
        "build/assets",
        executed=SHOWN,
        # Its docstrings are the reference.
        library=LIBRARY,
        script="book/tools/render.py",
        parts="book/tools/executed.py",
        extension=EXTENSION,
    output: "build/html/index.html"
    shell: "{sys.executable:q} {input.script} {input.executed}"


# Results of larger networks, kept in the repository: make results PROFILE=...
if "results" in config:
    import results as kept_results
    from run_notebook import parse_value

    def place_and_values(notebook, *more):
        """The place of a result, and the parameters of its notebook."""
        values = {name: parse_value(value) for name, value in parameters(*more)}
        return kept_results.place_of(notebook, values), values

    try:
        # By content: times of change tell nothing after a clone.
        TO_MAKE = kept_results.wanted(
            [place_and_values(notebook) for notebook in NOTEBOOKS if notebook not in TINY_ALONE]
            + [place_and_values(notebook, *RANDOM) for notebook in UNTRAINED]
        )
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    # A file for each that has been made; `make results` makes snakemake forget those of before.
    MADE = [f"build/taken/{place.relative_to('results').with_suffix('')}" for place in TO_MAKE]

    rule results:
        input: MADE

    rule result:
        input: lambda wildcards: [path for path in MADE if "09_discussion" not in path] if wildcards.notebook == "09_discussion" else []
        output: touch("build/taken/" + PROFILE + "/{notebook}")
        params: options=options()
        threads: cores_of_each(PROFILE, len(MADE))
        resources: gpu=int(PROFILE in NEEDS_GPU), memory_mb=memory_mb, **asked(PROFILE)
        shell: "OMP_NUM_THREADS={threads} {sys.executable:q} book/tools/results.py make notebooks/{wildcards.notebook}.ipynb {params.options}"

    use rule result as untrained_result with:
        input: []
        output: touch("build/taken/" + PROFILE + "/untrained/{notebook}")
        params: options=options(*RANDOM)


# A sweep: notebooks x models x seeds, as a file such as sweep.yaml lists them.
if "sweep" in config:
    from sweep import read

    SWEEP = read(Path(config["sweep"]))
    SWEEP_JOBS = [str(job.output) for job in SWEEP.jobs]

    localrules: sweep, gather

    rule sweep:
        input: SWEEP.folder / "claims.csv", SWEEP.folder / "comparison.html"

    if RUN:

        rule sweep_notebook:
            input:
                notebook="notebooks/{notebook}.ipynb",
                runner=RUNNER,
                lock="requirements.lock",
                library=LIBRARY,
            output: str(SWEEP.folder / "{notebook}/{label}/seed_{seed}.ipynb")
            params: options=lambda wildcards: SWEEP.options(wildcards.label, int(wildcards.seed))
            threads: cores_of_each(SWEEP.profile, len(SWEEP_JOBS))
            resources: gpu=int(SWEEP.profile in NEEDS_GPU), **asked(SWEEP.profile)
            shell: RUN_NOTEBOOK

    rule gather:
        input:
            config["sweep"],
            SWEEP_JOBS,
            script="book/tools/gather_sweep.py",
            parts=["book/tools/comparison.html"]
            + [f"book/tools/{name}.py" for name in ("sweep", "scoreboard", "judging", "executed")],
        output: SWEEP.folder / "claims.csv", SWEEP.folder / "comparison.html"
        shell: "{sys.executable:q} {input.script} {input[0]:q}"

"""The images' files without a Docker engine: linted, checked against schemas, their steps run in a clean place."""

import json
import os
import re
import shlex
import shutil
import subprocess
import venv
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "Dockerfile.tpu"]
KUBERNETES = "1.31"


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_layered_and_without_root(path):
    found = instructions(path)
    tensorflow = next(i for i, (_, rest) in enumerate(found) if "pip install --requirement" in rest)
    copied = [rest for name, rest in found[:tensorflow] if name == "COPY"]
    assert copied == ["setup.cfg docker/requirements.py ./"]  # No code before TensorFlow is installed.
    assert ("RUN", "pip install --no-deps .") in found[tensorflow:]
    assert [rest for name, rest in found if name == "USER"] == ["tfstable"]
    assert found.index(("USER", "tfstable")) > max(i for i, (name, _) in enumerate(found) if name in ("RUN", "COPY"))
    assert not [rest for name, rest in found if name == "FROM" and (":" not in rest or rest.endswith(":latest"))]


def test_compose_file():
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DOCKER / "compose.yaml").read_text())  # Each variable has a default.
    compose = PyCompose.from_yaml(text)
    compose.validate()
    assert set(compose.service_names()) == {"trainer", "serving", "tensorboard"}
    raw = yaml.safe_load(text)["services"]
    assert (DOCKER / raw["trainer"]["build"]["context"] / raw["trainer"]["build"]["dockerfile"]).exists()
    flags = dict(argument.lstrip("-").split("=", 1) for argument in raw["serving"]["command"])
    model_dir = next(a for a in raw["trainer"]["command"] if a.startswith("--model-dir=")).partition("=")[2]
    assert flags["model_base_path"] == f"{model_dir}/export"
    assert raw["serving"]["ports"] == [f"127.0.0.1:{flags[name]}:{flags[name]}" for name in ("port", "rest_api_port")]
    with pytest.raises(ValueError, match="prots"):
        PyCompose.from_yaml(text.replace("ports:", "prots:"))


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((DOCKER / "kubernetes" / name).read_text()))


def test_kubernetes_files():
    service, policy, job = documents("multi-worker.yaml")
    (jobset,) = documents("tpu.yaml")
    # A JobSet is no resource of Kubernetes itself; the Jobs that it makes are.
    inner = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "inner"}}
    inner_jobs = [inner | job["template"] for job in jobset["spec"]["replicatedJobs"]]
    for document in (service, policy, job, *inner_jobs):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**job, "spec": {**job["spec"], "completion": 4}}, KUBERNETES, strict=True)
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]


def test_only_the_workers_reach_the_workers():
    service, policy, job = documents("multi-worker.yaml")
    pods = {"matchLabels": service["spec"]["selector"]}
    assert service["spec"]["selector"] == {
        "job-name": job["metadata"]["name"]
    }  # The label that the Job gives its pods.
    assert policy["spec"]["podSelector"] == pods
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": pods}]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert [port["port"] for port in rule["ports"]] == [port["containerPort"] for port in container["ports"]] == [2222]


def test_each_worker_of_the_job_knows_the_others_and_itself():
    *_, job = documents("multi-worker.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    workers = int(container["env"][0]["value"])
    assert workers == job["spec"]["completions"] == job["spec"]["parallelism"]
    script = re.sub(r"exec tfstable.*", 'printf %s "$TF_CONFIG"', container["args"][0], flags=re.DOTALL)
    environment = {"PATH": os.environ["PATH"], "WORKERS": str(workers), "JOB_COMPLETION_INDEX": "2"}
    done = subprocess.run([*container["command"], script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "cluster": {"worker": [f"trainer-{i}.trainer:2222" for i in range(4)]},
        "task": {"type": "worker", "index": 2},
    }


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npx") is None, reason="the linter comes from npm")
def test_linter_finds_nothing():
    done = subprocess.run(
        ["make", "--no-print-directory", "lint-docker"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Issues: None found") == len(DOCKERFILES)


@pytest.mark.slow
def test_install_steps_in_a_clean_environment(tmp_path):
    """The Dockerfile's COPY and RUN, in its order, in a virtual environment where the image has its system's Python."""
    home, app = tmp_path / "venv", tmp_path / "app"
    venv.create(home, with_pip=True)
    app.mkdir()
    environment = {"PATH": f"{home / 'bin'}{os.pathsep}/usr/bin:/bin", "HOME": str(tmp_path)}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP"))}
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name, rest in instructions(DOCKER / "Dockerfile"):
        if name == "ARG":
            key, _, value = rest.partition("=")
            environment[key] = value
        elif name == "ENV":
            environment |= dict(item.split("=", 1) for item in shlex.split(rest))
        elif name == "COPY" and rest == ". .":
            for entry in kept:
                source, target = ROOT / entry, app / entry
                target.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if source.is_dir() else shutil.copy
                copy(source, target)
        elif name == "COPY":
            for source in rest.split()[:-1]:
                assert source.split("/")[0] in {entry.split("/")[0] for entry in kept}, f"{source} is in no context"
                shutil.copy(ROOT / source, app)
        elif name == "RUN" and "useradd" not in rest:
            subprocess.run(["sh", "-ec", rest], cwd=app, env=environment, check=True, capture_output=True)

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run("tfstable", "simulate", "--out", "log", "--days", "3", "--rows-per-day", "500")
    settings = ["--set", "data.path=log", "--set", "trainer.tensorboard=false"]
    run("tfstable", "train", "--config", str(app / "configs/quickstart.yaml"), "--model-dir", "run", *settings)
    assert (tmp_path / "run" / "export" / "1" / "saved_model.pb").exists()
    where = run("python", "-c", "import tfstable; print(tfstable.__file__)")
    assert str(home) in where

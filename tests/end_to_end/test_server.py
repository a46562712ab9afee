"""A team's server for real: PostgreSQL, MLflow with users on loopback, and the pipeline that writes to it."""

import contextlib
import itertools
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import psutil
import psycopg
import pytest
import requests

from server import postgres, serve
from tests.conftest import ROOT
from tests.end_to_end.chromium import CHROMIUM, PATIENCE, SWITCHES, needs_chromium
from tests.end_to_end.conftest import Project, clean_environment
from tests.server import attacks
from xtcav_ml.tracking import mlflow_names, mlflow_writer, uploader
from xtcav_ml.tracking.journal import Journal, folder_of

ADMIN, MEMBER, GUEST, ROLE = NAMES = [f"name-{secrets.token_hex(8)}" for _ in range(4)]
ADMIN_PASSWORD, MEMBER_PASSWORD, GUEST_PASSWORD, ROLE_PASSWORD, SECRET = PASSWORDS = [
    f"password-{secrets.token_hex(8)}" for _ in range(5)
]
"""Strings that stand nowhere else, in this file neither: it is in the project that is searched for them."""

ODD_ANSWERS = set(range(200, 500)) - {429}


class Team:
    """A project, and a server that it writes to."""

    project: Project

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "server"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.said: list[str] = []  # what the project's commands printed

    @contextlib.contextmanager
    def serving(self, **env: str):
        """Start `python -m server`, give it with a function that waits for it, and kill it if the test does not end it."""
        credentials = {"MLFLOW_AUTH_ADMIN_USERNAME": ADMIN, "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD}
        settings = {**credentials, "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRET, "MLFLOW_WORKERS": "1", **env}
        command = [sys.executable, "-m", "server", "--folder", str(self.folder)]
        with self.log.open("ab") as log:
            begun = log.tell()
            process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=ROOT,
                env={**clean_environment(), **settings},
                stdout=log,
                stderr=log,
            )

        def answers() -> None:
            deadline = time.monotonic() + 120
            while b"MLflow on " not in self.log.read_bytes()[begun:]:
                assert process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)

        try:
            yield process, answers
        finally:
            process.kill()
            process.wait()

    def client_environment(self, name: str, password: str) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def run(self, *command: str, password: str = MEMBER_PASSWORD, check: bool = True):
        """Run a command in the project, as a member of the team."""
        done = self.project.run(*command, check=check, **self.client_environment(MEMBER, password))
        self.said += [done.stdout, done.stderr]
        return done

    def post(
        self, call: str, auth: tuple[str, str], headers: dict[str, str] | None = None, **body
    ) -> requests.Response:
        return requests.post(f"{self.address}/api/{call}", auth=auth, headers=headers, json=body, timeout=30)

    def get(self, auth: tuple[str, str] | None = (MEMBER, MEMBER_PASSWORD), **headers: str) -> requests.Response:
        return requests.get(
            f"{self.address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=xtcav",
            auth=auth,
            headers=headers,
            timeout=30,
        )


@contextlib.contextmanager
def signed_in(team: Team, name: str, password: str):
    with pytest.MonkeyPatch.context() as patch:
        for key, value in team.client_environment(name, password).items():
            patch.setenv(key, value)
        before = mlflow.get_tracking_uri()  # what another test of this process has set goes before the environment
        mlflow.set_tracking_uri(team.address)
        yield mlflow.MlflowClient(team.address)
        mlflow.set_tracking_uri(before)


def below(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def command_lines(process: subprocess.Popen) -> bytes:
    """Return what `ps` shows to everybody of a server's processes, less PostgreSQL's, which show the account they serve."""
    shown = [psutil.Process(process.pid), *below(process)]
    return "\n".join(" ".join(one.cmdline()) for one in shown if "postgres: " not in one.cmdline()[0]).encode()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A team whose member has run the pipeline against its server, which runs until the last test ends it."""
    folder = tmp_path_factory.mktemp("team")
    team = Team(folder)
    with team.serving() as (process, answers):
        team.project = Project.with_small_frames(folder / "project")
        answers()
        for name, password in ((MEMBER, MEMBER_PASSWORD), (GUEST, GUEST_PASSWORD)):
            made = team.post("2.0/mlflow/users/create", (ADMIN, ADMIN_PASSWORD), username=name, password=password)
            assert made.status_code == 200, made.text
        team.run("dvc", "repro")
        yield team, process


def the_run(team: Team):
    """Return the first run of the pipeline, and a client, as the member sees them."""
    with signed_in(team, MEMBER, MEMBER_PASSWORD) as client:
        experiment = client.get_experiment_by_name("xtcav")
        stage, order = "tags.stage = 'train'", ["attributes.start_time ASC"]
        return client, client.search_runs([experiment.experiment_id], stage, order_by=order)[0]


def test_the_run_is_there_with_metrics_and_artifacts(served, tmp_path):
    team, _ = served
    client, run = the_run(team)
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    results = team.project.json("results/evaluation.json")
    assert run.data.metrics["accuracy"] == results["accuracy"]
    assert run.data.params["train.optimizer.learning_rate"] == "0.05"
    with signed_in(team, MEMBER, MEMBER_PASSWORD):
        assert len(client.get_metric_history(run.info.run_id, "val_accuracy")) == 3
        table = Path(client.download_artifacts(run.info.run_id, "predictions.csv", str(tmp_path)))
        assert table.read_bytes() == (team.project.folder / "results/predictions.csv").read_bytes()
        (model,) = client.search_logged_models([run.info.experiment_id])
        found = Path(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=str(tmp_path / "model")))
    assert (found / "MLmodel").is_file()
    kept = [path.read_bytes() for path in found.rglob("*.keras")]
    assert kept == [(team.project.folder / "models/model.keras").read_bytes()]


def test_tools_use_the_server(served):
    team, _ = served
    _, run = the_run(team)
    said = team.run("xtcav", "compare", run.info.run_id, ".").stdout
    assert "difference" in said
    assert team.address in team.run("xtcav", "ui").stdout


@contextlib.contextmanager
def browsing(team: Team, name: str, password: str):
    """Give a page of Chromium, signed in, and the list of requests that fail; nothing but the server can be reached."""
    from playwright.sync_api import sync_playwright

    failed: list[tuple[int, str]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        account = {"username": name, "password": password}
        context = browser.new_context(viewport={"width": 1700, "height": 2200}, http_credentials=account)
        context.set_default_timeout(3 * PATIENCE)
        context.route(lambda url: not url.startswith(team.address), lambda route: route.abort())
        page = context.new_page()
        page.on("response", lambda got: failed.append((got.status, got.url)) if got.status >= 400 else None)
        page.on("pageerror", lambda error: failed.append((0, str(error))))
        yield page, failed
        browser.close()


@needs_chromium
@pytest.mark.parametrize(
    ("name", "password"), [(ADMIN, ADMIN_PASSWORD), (GUEST, GUEST_PASSWORD)], ids=["admin", "guest"]
)
def test_mlflow_s_pages_work_behind_the_gate(served, name, password):
    team, _ = served
    _, run = the_run(team)
    experiment, run_id = run.info.experiment_id, run.info.run_id
    with browsing(team, name, password) as (page, failed):
        page.goto(f"{team.address}/#/experiments")
        page.get_by_text("xtcav", exact=True).locator("visible=true").first.wait_for()
        page.goto(f"{team.address}/#/experiments/{experiment}/runs")
        page.locator(".ag-row", has_text=run.info.run_name).wait_for()
        page.goto(f"{team.address}/#/experiments/{experiment}/runs/{run_id}")
        page.get_by_text(run.data.tags["lineage.key"]).first.wait_for()
        page.goto(f"{team.address}/#/experiments/{experiment}/runs/{run_id}/artifacts/plots/confusion_matrix.png")
        page.wait_for_function("() => [...document.images].some(image => image.naturalWidth > 300 && image.complete)")
        page.goto(f'{team.address}/#/compare-runs?runs=["{run_id}","{run_id}"]&experiments=["{experiment}"]')
        page.get_by_text("Comparing 2 Runs").wait_for()
        page.get_by_role("switch", name="Parameters - Show diff only", checked=True).wait_for()  # here nothing differs
        page.goto(f"{team.address}/#/models")
        page.get_by_text("xtcav", exact=True).locator("visible=true").first.wait_for()
        page.goto(f"{team.address}/#/models/xtcav/versions/1")
        page.get_by_title("candidate", exact=True).wait_for()
        assert page.get_by_text("Assistant").locator("visible=true").count() == 0
    assert [one for one in failed if not re.search("/assistant/|/gateway", one[1])] == []  # which are closed


@pytest.mark.slow
def test_a_search_and_another_clone_write_at_once(served, tmp_path):
    team, _ = served
    other = Project.with_small_frames(tmp_path / "other", **{"train.seed": 7})
    with ThreadPoolExecutor() as both:
        search = both.submit(team.run, "xtcav", "tune", "--trials", "2")
        both.submit(other.run, "dvc", "repro", **team.client_environment(MEMBER, MEMBER_PASSWORD)).result()
        search.result()
    with signed_in(team, MEMBER, MEMBER_PASSWORD) as client:
        experiment = client.get_experiment_by_name("xtcav").experiment_id
        (seventh,) = client.search_runs([experiment], "tags.stage = 'train' and params.`train.seed` = '7'")
        (study,) = client.search_runs([experiment], "tags.stage = 'tune'")
        assert len(client.get_metric_history(seventh.info.run_id, "val_accuracy")) == 3
        trials = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{study.info.run_id}'")
    assert {run.info.status for run in (seventh, study)} == {"FINISHED"}
    assert len(trials) == 2
    assert {run.info.status for run in trials} <= {"FINISHED", "KILLED"}


def test_another_name_in_the_host_header_is_refused(served):
    team, _ = served
    assert team.get().status_code == 200
    assert team.get(Host=f"localhost:{team.port}").status_code == 200
    for host in ("10.attacker.example", f"attacker.example:{team.port}", "127.0.0.1:1", "192.168.0.1"):
        assert team.get(Host=host).status_code == 403, host
    foreign = team.post(
        "2.0/mlflow/experiments/create", (MEMBER, MEMBER_PASSWORD), {"Origin": "http://attacker.example"}, name="x"
    )
    assert foreign.status_code == 403


def test_nobody_gets_in_without_the_right_password(served):
    team, _ = served
    for auth in (None, (MEMBER, "wrong"), ("nobody", MEMBER_PASSWORD), (ADMIN, "password1234")):
        assert team.get(auth).status_code == 401, auth
    done = team.run("xtcav", "compare", "0" * 32, ".", password="wrong", check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("xtcav: ")]
    assert line.startswith("xtcav: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD: ")


def test_nothing_that_is_not_theirs_is_open_to_anybody(served, tmp_path):
    """Requests of nobody, and of a guest who may only read, to what is another's or the server's; odd ones of a guest."""
    team, _ = served
    client, run = the_run(team)
    with signed_in(team, MEMBER, MEMBER_PASSWORD):
        (model,) = client.search_logged_models([run.info.experiment_id])
    before = everything(team)
    of_guest = attacks.of_guest(
        run.info.experiment_id, run.info.run_id, "xtcav", model.model_id, str(tmp_path / "elsewhere")
    )
    for account, requests_, allowed in (
        (None, attacks.of_nobody(), {400, 401}),
        ((GUEST, GUEST_PASSWORD), of_guest, {400, 403, 404, 405, 415}),
        ((GUEST, GUEST_PASSWORD), itertools.islice(attacks.odd(), 0, None, 7), ODD_ANSWERS),
    ):
        answers = [(attack, *attack.send(team.port, account)) for attack in requests_]
        assert len(answers) > 90
        assert [one for one in answers if one[1] not in allowed] == []
    assert everything(team) == before
    assert list(tmp_path.iterdir()) == []


def test_what_is_hardly_http_is_refused(served):
    team, _ = served
    answers = {name: attacks.send_raw(team.port, (GUEST, GUEST_PASSWORD), lines) for name, lines in attacks.RAW.items()}
    assert {name: status for name, status in answers.items() if status not in (400, 403, 404, 413, 431)} == {}


@pytest.mark.slow
def test_no_odd_request_is_answered_with_5xx(served):
    team, _ = served
    answers = [(attack, *attack.send(team.port, (GUEST, GUEST_PASSWORD))) for attack in attacks.odd()]
    assert [one for one in answers if one[1] not in ODD_ANSWERS] == []


def everything(team: Team) -> tuple[object, ...]:
    """Return what the member has in the server: the run, its model and version, and every artifact's bytes."""
    client, run = the_run(team)
    with signed_in(team, MEMBER, MEMBER_PASSWORD):
        (model,) = client.search_logged_models([run.info.experiment_id])
        versions = client.search_model_versions("name = 'xtcav'")
        experiments = [
            one.name for one in client.search_experiments() if "elsewhere" in one.artifact_location + one.name
        ]
    artifacts = {path: path.read_bytes() for path in all_files(team.folder / "artifacts")}
    return repr((run.info, run.data, model.tags, versions, experiments)), artifacts


def test_who_has_an_account_reads_but_does_not_write_to_what_another_made(served):
    """From here on the guest is of the team."""
    team, _ = served
    guest = (GUEST, GUEST_PASSWORD)
    experiment = team.get(guest).json()["experiment"]["experiment_id"]
    assert team.post("2.0/mlflow/runs/create", guest, experiment_id=experiment).status_code == 403
    admin = (ADMIN, ADMIN_PASSWORD)  # who makes a role for the team, as server/README.md says
    role = team.post("3.0/mlflow/roles/create", admin, workspace="default", name="team").json()["role"]["id"]
    what = {"resource_type": "experiment", "resource_pattern": "*", "permission": "EDIT"}
    assert team.post("3.0/mlflow/roles/permissions/add", admin, role_id=role, **what).status_code == 200
    assert team.post("3.0/mlflow/roles/assign", admin, username=GUEST, role_id=role).status_code == 200
    assert team.post("2.0/mlflow/runs/create", guest, experiment_id=experiment).status_code == 200
    assert team.post("2.0/mlflow/runs/create", (MEMBER, MEMBER_PASSWORD), experiment_id=experiment).status_code == 200


def test_a_location_that_is_in_the_database_already_is_not_followed(served, tmp_path):
    team, process = served
    (tmp_path / "secret.txt").write_text("secret")
    with database_of(process) as connection:
        member = (MEMBER, MEMBER_PASSWORD)
        made = team.post("2.0/mlflow/experiments/create", member, name="of before").json()["experiment_id"]
        run = team.post("2.0/mlflow/runs/create", member, experiment_id=made).json()["run"]["info"]["run_id"]
        for location in (f"file://{tmp_path}", str(tmp_path), f"{team.folder}/artifacts/../../"):
            connection.execute("UPDATE runs SET artifact_uri = %s WHERE run_uuid = %s", (location, run))
            for call in (
                f"/get-artifact?path=secret.txt&run_uuid={run}",
                f"/api/2.0/mlflow/artifacts/list?run_id={run}",
            ):
                status, text = attacks.Attack("GET", call).send(team.port, member)
                assert (status, "secret" in text) == (400, False), text


def database_of(process: subprocess.Popen) -> psycopg.Connection:
    """Return a connection to the database of a running server."""
    folder = postmaster(process).cmdline()[-1].partition("unix_socket_directories=")[2]
    return psycopg.connect(dbname="mlflow", host=folder, autocommit=True)


def postmaster(process: subprocess.Popen) -> psutil.Process:
    """Return the PostgreSQL that the others are children of."""
    return next(one for one in below(process) if "listen_addresses=" in one.cmdline())


def mlflow_server(process: subprocess.Popen) -> psutil.Process:
    """Return the process that listens: MLflow's command line is above it."""
    for one in below(process):
        with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's come and go
            if one.name().startswith("python") and not one.children():
                return one
    raise AssertionError("nobody listens")


def wait_until_it_answers(team: Team) -> None:
    deadline = time.monotonic() + 180
    while (status := answer_of(team)) != 200:
        assert status in (503, None)  # clients try again
        assert time.monotonic() < deadline
        time.sleep(0.2)


def answer_of(team: Team) -> int | None:
    """Return the status of an answer, or None where nobody listens."""
    try:
        return team.get().status_code
    except requests.ConnectionError:
        return None


BEGIN = {
    "event": "begin",
    "store": "",
    "identity": "",
    "experiment": "many clients of ours",
    "parent": None,
    "tags": {},
    "adds": False,
    "time_ms": 1000,
}


def write_metrics(root: Path, clients: int, number: int) -> None:
    """Log ten metrics of a run as a stage does it: each is in the journal before it is uploaded, and is tried again."""
    journal = Journal.create(
        folder_of(root), str(number), BEGIN | {"run_key": f"{clients} {number}", "name": str(number)}
    )
    with contextlib.closing(journal):
        for step in range(11):
            values = {"value": number + step / 10}
            row = {"event": "metrics", "values": values, "step": step, "time_ms": 1000 + step}
            journal.append(row if step < 10 else {"event": "finish", "status": "FINISHED", "time_ms": 2000})
            while journal.pending:
                try:
                    mlflow_writer.upload_next(root, journal)
                except Exception:  # as the uploader takes it
                    time.sleep(1)


@pytest.mark.parametrize(("clients", "kills"), [(24, 1), pytest.param(400, 2, marks=pytest.mark.slow)])
def test_all_that_is_killed_comes_back_and_clients_lose_and_double_nothing(
    served, tmp_path, monkeypatch, clients, kills
):
    team, process = served
    begun = team.log.stat().st_size
    for name, value in {**team.client_environment(MEMBER, MEMBER_PASSWORD), **uploader.REQUEST}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(uploader.TIMEOUT, str(uploader.LONGEST_TIMEOUT))  # the uploader raises it for a slow server
    with ThreadPoolExecutor(clients) as pool:
        logged = [pool.submit(write_metrics, tmp_path, clients, number) for number in range(clients)]
        for part in [postmaster, mlflow_server] * kills:
            time.sleep(clients / 50)
            part(process).kill()
            time.sleep(2 * serve.LOOK)  # until then another one's answer may come
            wait_until_it_answers(team)
        for one in logged:
            one.result()
    for name in ("PostgreSQL", "MLflow"):
        again = rf"^{name} ended \(exit code -?\d+\) and is started again$"
        assert len(re.findall(again, team.log.read_text()[begun:], re.MULTILINE)) == kills
    with signed_in(team, MEMBER, MEMBER_PASSWORD) as client:
        experiment = client.get_experiment_by_name(BEGIN["experiment"]).experiment_id
        runs = client.search_runs([experiment], max_results=1000)
        ours = [run for run in runs if run.data.tags[mlflow_names.RUN_TAG].startswith(f"{clients} ")]
        assert sorted(int(run.info.run_name) for run in ours) == list(range(clients))
        for run in ours:
            assert run.info.status == "FINISHED"
            rows = sorted((one.step, one.value) for one in client.get_metric_history(run.info.run_id, "value"))
            assert rows == [(step, int(run.info.run_name) + step / 10) for step in range(10)]


@pytest.mark.slow
def test_many_clients_lose_nothing_while_postgresql_is_killed_twice(served):
    """400 clients log ten metrics each, as MLflow's client does it, which tries again by itself."""
    team, process = served
    with signed_in(team, MEMBER, MEMBER_PASSWORD) as client, ThreadPoolExecutor(400) as pool:
        experiment = client.create_experiment("many clients")

        def log(number: int) -> str:
            run = client.create_run(experiment, run_name=str(number)).info.run_id
            for step in range(10):
                client.log_metric(run, "value", number + step / 10, step=step)
            return run

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "10")
            logged = [pool.submit(log, number) for number in range(400)]
            for _ in range(2):
                time.sleep(8)
                postmaster(process).kill()
            runs = [one.result() for one in logged]
        for number, run in enumerate(runs):
            history = {one.step: one.value for one in client.get_metric_history(run, "value")}
            assert history == {step: number + step / 10 for step in range(10)}


def test_no_name_and_no_password_is_left_anywhere(served):
    """They are looked for in every byte.

    Names, and hashes of passwords, are in PostgreSQL's files, since there the accounts are. A run names its user.
    """
    team, process = served
    _, run = the_run(team)
    lines = command_lines(process)
    assert str(team.folder).encode() in lines  # those of the server are among them
    logs = {"log": team.log.read_bytes(), "printed": "".join(team.said).encode(), "command lines": lines}
    assert run.info.user_id == run.data.tags.pop("mlflow.user") in NAMES
    info = {name: value for name, value in dict(run.info).items() if name != "user_id"}
    entries = {"the run": repr((info, run.data.to_dictionary(), run.inputs)).encode()}
    files = {path: path.read_bytes() for top in (team.folder, team.project.folder) for path in all_files(top)}
    assert any(path.is_relative_to(team.folder / "postgres") for path in files)
    assert any(path.is_relative_to(team.folder / "artifacts") for path in files)
    for place, content in {**logs, **entries, **files}.items():
        accounts = isinstance(place, Path) and place.is_relative_to(team.folder / "postgres")
        found = [canary for canary in [*PASSWORDS, *([] if accounts else NAMES)] if canary.encode() in content]
        assert not found, f"{found} in {place}"


def all_files(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]


def test_sigterm_ends_every_process_in_order(served):
    team, process = served
    others = below(process)
    assert {"postgres", "python"} <= {re.sub("[0-9.]+$", "", other.name()) for other in others}
    begun = len(team.log.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) not in (None, 0)
    assert not [other for other in others if other.is_running()]
    assert "database system is shut down" in (team.folder / "postgres.log").read_text().splitlines()[-1]
    assert "Traceback" not in team.log.read_text()[begun:]


def test_a_server_on_a_named_database_has_the_same_runs_and_leaves_nothing_when_killed(served):
    team, process = served
    assert process.poll() is not None
    with postgres.embedded(team.folder) as database:
        socket_folder = database.keywords["host"]
        with psycopg.connect(dbname="mlflow", autocommit=True, **database.keywords) as connection:
            connection.execute(f"""CREATE ROLE "{ROLE}" SUPERUSER LOGIN PASSWORD '{ROLE_PASSWORD}'""")
        rules = team.folder / "postgres/pg_hba.conf"
        rules.write_text(f'local all "{ROLE}" scram-sha-256\n{rules.read_text()}')
        with psycopg.connect(dbname="mlflow", autocommit=True, **database.keywords) as connection:
            connection.execute("SELECT pg_reload_conf()")
        address = f"postgresql://{ROLE}:{ROLE_PASSWORD}@/mlflow?host={socket_folder}"
        names = f"mlflow.example.org,127.0.0.1:{team.port}"  # as behind a proxy that has a name and TLS
        with team.serving(XTCAV_DATABASE=address, MLFLOW_SERVER_ALLOWED_HOSTS=names) as (again, answers):
            answers()
            assert team.get(Host=f"localhost:{team.port}").status_code == 403
            member, named = (MEMBER, MEMBER_PASSWORD), {"Host": "mlflow.example.org"}
            for origin, expected in (("https://mlflow.example.org", 200), ("https://attacker.example", 403)):
                asked = team.post(
                    "2.0/mlflow/experiments/create", member, {**named, "Origin": origin}, name="from a page"
                )
                assert asked.status_code == expected
            _, run = the_run(team)
            assert run.info.status == "FINISHED"
            said = command_lines(again) + team.log.read_bytes() + (team.folder / "users.ini").read_bytes()
            assert ROLE.encode() not in said
            assert ROLE_PASSWORD.encode() not in said
            others = below(again)
            assert others
            again.kill()
            _, alive = psutil.wait_procs(others, timeout=60)
            assert not alive

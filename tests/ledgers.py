"""Records for tests of the ledger."""

from datetime import UTC, datetime

from dbmod.records import Attempt, Module, Row, Run, Version

MOMENT = datetime(2017, 6, 2, 17, 6, 21, 500000, tzinfo=UTC)


def identifier(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def version(number: int, *, sha256: str = "b" * 64) -> Version:
    return Version(number=number, md5="a" * 32, sha256=sha256, size_bytes=18, author="ada", created_at=MOMENT)


def module(number: int, *, name: str = "mymod", versions: tuple[Version, ...] = ()) -> Module:
    return Module(
        id=identifier(number),
        name=name,
        type="ping",
        tenant="default",
        datastore=None,
        datastore_version=None,
        description="é ü 漢 {{ 7 * 7 }}",
        auto_apply=False,
        visible=True,
        live_update=False,
        priority_apply=False,
        apply_order=5,
        is_admin=True,
        full_access=False,
        created_at=MOMENT,
        updated_at=MOMENT,
        versions=versions or (version(1),),
    )


def row(number: int, *, module_id: str = "m", held: int = 1, message: str = "Module.V1") -> Row:
    return Row(
        module_id=module_id,
        instance_id=identifier(number),
        held=held,
        held_md5="7f700cc7b99606615f8b51946f6d3228",
        held_sha256="b" * 64,
        status="OK",
        message=message,
        last_attempt="ok",
        serial=1,
        run_id=identifier(1),
        created_at=MOMENT,
        updated_at=MOMENT,
    )


def attempt(number: int, *, run_id: str) -> Attempt:
    return Attempt(
        run_id=run_id,
        instance_id=identifier(number),
        module_id="m",
        batch=1,
        position=number,
        order=0,
        state="planned",
        number=1,
        from_number=None,
        sha256="b" * 64,
    )


def run(number: int) -> Run:
    return Run(
        id=identifier(number),
        serial=number,
        verb="apply",
        playbook="module_apply",
        module_id=None,
        cluster_id=None,
        options={"limit": ["a", 1, None]},
        actor="ada",
        reason="",
        state="planned",
        owner=None,
        batch=0,
        batch_sizes=(1, 2),
        delay_seconds=0,
        max_errors=None,
        created_at=MOMENT,
        renewed_at=MOMENT,
    )

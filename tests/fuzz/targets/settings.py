"""Settings from the environment: refused by name, and a secret never in the message."""

import random

from polyexec.config import ExecutorConfig
from polyexec.errors import ConfigError
from polyexec.variables import VARIABLES
from tests.fuzz import generate
from tests.fuzz.registry import target

NAMES = [
    name
    for names in VARIABLES.values()
    for name in names
    # The original's mode words warn; that is tested, and no fault.
    if name not in ("ENGINE_MODE", "EXECUTOR_MODE")
]
SECRET = "5ec2e7" * 10 + "abcd"
VALUES = ["true", "0", "10", "0.1", "https://clob.example", "137", "0x" + "11" * 20, SECRET, "EOA"]
SECRET_NAMES = (*VARIABLES["private_key"], *VARIABLES["api_secret"], *VARIABLES["api_passphrase"])


@target("config.from_env", refuses=(ConfigError,))
def from_env(source: random.Random) -> None:
    env = {}
    for name in source.sample(NAMES, source.randrange(8)):
        env[name] = source.choice(VALUES) if source.random() < 0.6 else generate.text(source)
    for name in source.sample(SECRET_NAMES, source.randrange(3)):
        env[name] = SECRET
    shown_on_purpose = any(
        value == SECRET and name not in SECRET_NAMES for name, value in env.items()
    )
    try:
        shown = repr(ExecutorConfig.from_env(env))
    except ConfigError as error:
        shown = str(error)
    if not shown_on_purpose:
        assert SECRET not in shown

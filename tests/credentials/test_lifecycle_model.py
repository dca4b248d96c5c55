"""The promises of a secret's life on the pure functions, whatever the order of what happens."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.credentials.life import SecretLife
from tests.credentials.pure import PureLife

# Without shrinking for minutes: the steps of a failing example are printed as they are.
PROFILE = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class PureSecretLife(SecretLife):
    """Also: what the token path has compiled agrees with the states, at every instant."""

    life: PureLife

    def __init__(self) -> None:
        super().__init__(PureLife())

    @invariant()
    def the_token_path_agrees(self) -> None:
        self.life.both_readings_agree()


def test_a_secrets_life_keeps_its_promises_whatever_the_order() -> None:
    run_state_machine_as_test(PureSecretLife, settings=PROFILE)

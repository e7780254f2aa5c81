"""The second half of the circle: reward model, policy, baselines, and their comparison with the model before."""

from functools import partial

from likelier.circle.feedback import Result
from likelier.config import Config, OtherModel, RewardSource
from likelier.files import write_jsonl
from likelier.records import read_preferences
from likelier.runs.round import Round
from likelier.runs.shared import train_stage
from likelier.stages import STAGES, Stage

JUDGE = "a judge trained on other judgements"


def train(circle_round: Round, verb: str, config: Config) -> Result:
    """Train a stage in the round's folder, from its newest checkpoint if it was interrupted."""
    return train_stage(verb, config, circle_round.run_folder(verb), "auto", circle_round.accept_changes)


def train_reward_model(circle_round: Round) -> Result:
    """Train a reward model on the round's preferences."""
    return train(circle_round, "reward", circle_round.stage(data=str(circle_round.folder / "preferences")))


def train_policy(circle_round: Round) -> Result:
    """Train the policy with PPO against that reward model and the sources of the config."""
    config = make_policy_config(circle_round)
    ppo = config.ppo.model_copy(update={"reference": circle_round.reference})
    return train(circle_round, "ppo", config.model_copy(update={"ppo": ppo}))


def make_policy_config(circle_round: Round) -> Config:
    """Return the settings shared by PPO and its baselines: initial model, prompts and reward."""
    rewards = [make_reward_source(circle_round), *circle_round.config.reward]
    return circle_round.stage(
        model=circle_round.start, prompts=str(circle_round.prompts / "train.jsonl"), reward=rewards
    )


def make_reward_source(circle_round: Round) -> RewardSource:
    """Return the round's own reward model as a source, with all members of the ensemble."""
    return RewardSource(model=str(circle_round.run_folder("reward")), name="reward model")


def train_baseline(circle_round: Round, stage: Stage) -> Result:
    """Train a baseline on the round's preferences; it is evaluated as often as PPO unless its settings differ."""
    block = getattr(circle_round.config, stage.block)
    every = block.eval_steps or circle_round.config.ppo.eval_steps or 10
    settings = {
        stage.block: block.model_copy(update={"eval_steps": every}),
        "data": str(circle_round.folder / "preferences"),
    }
    return train(circle_round, stage.verb, make_policy_config(circle_round).model_copy(update=settings))


def list_baselines(config: Config) -> list[Stage]:
    """Return the stages that are trained beside PPO, in the order of the stage table."""
    return [stage for stage in STAGES.values() if stage.verb in config.circle.baselines]


def compare_models(circle_round: Round) -> Result:
    """Compare the policy with the round's initial model, by the config's judges or one trained on held-out pairs."""
    from likelier.evaluation.compare import evaluate
    from likelier.web.server import make_access, serve

    config = make_evaluation_config(circle_round)
    page = partial(serve, access=make_access(config.eval, "eval"))
    return evaluate(config, circle_round.folder / "evaluation", page).to_json()


def compare_with_first(circle_round: Round) -> Result:
    """Compare the policy with the circle's first model, by the judges that score."""
    from likelier.evaluation.compare import evaluate

    config = make_evaluation_config(circle_round)
    scorer = config.eval.scoring
    alone = {"model_a": circle_round.config.model, "scorer": scorer, "others": [], "best_of": [], "selector": []}
    config = config.model_copy(update={"eval": config.eval.model_copy(update=alone)})
    return evaluate(config, circle_round.folder / "against_first").to_json()


def make_evaluation_config(circle_round: Round) -> Config:
    """Return the settings of the comparison with the round's initial model."""
    settings = {
        "model_a": circle_round.model,
        "model_b": str(circle_round.run_folder("ppo") / "model"),
        "prompts": str(circle_round.prompts / "kept_out.jsonl"),
        "scorer": circle_round.config.eval.scorer or [RewardSource(model=train_judge(circle_round), name=JUDGE)],
        "selector": [make_reward_source(circle_round)] * bool(circle_round.config.eval.best_of),
        "response_length": circle_round.config.ppo.response_length,
        "stop_token": circle_round.config.ppo.stop_token,
        "stop_strings": circle_round.config.ppo.stop_strings,
        "others": [*circle_round.config.eval.others, *list_baseline_models(circle_round)],
    }
    return circle_round.stage(eval=circle_round.config.eval.model_copy(update=settings))


def list_baseline_models(circle_round: Round) -> list[OtherModel]:
    """Return the models of the circle's baselines."""
    return [
        OtherModel(model=str(circle_round.run_folder(stage.verb) / "model"), name=stage.title)
        for stage in list_baselines(circle_round.config)
    ]


def train_judge(circle_round: Round) -> str:
    """Train a second reward model, on none of the pairs that the policy was trained on; returns its folder."""
    judge = circle_round.folder / "evaluation" / "judge"
    data = judge / "preferences"
    for part, source in {"train": "test", "valid": "valid", "test": "train"}.items():
        pairs = read_preferences(circle_round.folder / "preferences" / f"{source}.jsonl")
        write_jsonl(data / f"{part}.jsonl", pairs, private=True)
    config = circle_round.stage(data=str(data), seed=circle_round.config.seed + 1)
    train_stage("reward", config, judge / "run", "auto", circle_round.accept_changes)
    return str(judge / "run")

"""The plan of all stages of a config."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from likelier.config import Config, build_config
from likelier.errors import ConfigError
from likelier.plan.answering import plan_candidates, plan_evaluation
from likelier.plan.changes import Change, list_changes
from likelier.plan.machine import Machine
from likelier.plan.memory import measure_process
from likelier.plan.ppo import plan_ppo
from likelier.plan.stage import StagePlan
from likelier.plan.training import plan_dpo, plan_reward, plan_sft
from likelier.stages import STAGES
from likelier.training.precision import set_bf16

Planner = Callable[[Config, Machine, int], StagePlan]
PLANNERS: Mapping[str, Planner] = {
    "candidates": plan_candidates,
    "sft": plan_sft,
    "reward": plan_reward,
    "dpo": plan_dpo,
    "ppo": plan_ppo,
    "eval": plan_evaluation,
}
"""Function for each stage that can be planned, in the order of the circle."""

MUST_SAVE = 0.99
"""Share of the memory before at which a change is worth naming."""


def make_plans(config: Config, machine: Machine) -> list[StagePlan]:
    """Plan each stage that a config has settings for. ConfigError: none. DataError: see `build_model`."""
    stages = find_stages(config)
    for stage in stages:
        if stage in STAGES:
            import_module(STAGES[stage].module)
    for stage in stages:
        if stage in STAGES and stage != "gym":
            config = set_bf16(config, STAGES[stage].block, not machine.is_cpu)
    process = measure_process()
    return [plan_stage(stage, config, machine, process) for stage in stages]


def plan_stage(stage: str, config: Config, machine: Machine, process: int) -> StagePlan:
    """Plan a stage, and if it does not fit, find settings that make it."""
    plan = PLANNERS[stage](config, machine, process)
    return plan if plan.fits(machine.memory) else replace(plan, changes=find_changes(plan, config, machine, process))


def find_changes(plan: StagePlan, config: Config, machine: Machine, process: int) -> list[Change]:
    """Return changes of settings, each on top of those before it, until the stage fits; those that save less than a
    hundredth are left out."""
    found: list[Change] = []
    for change in list_changes(plan.stage, config, not machine.is_cpu):
        changed = apply_change(config, change)
        if changed is None:
            continue
        smaller = PLANNERS[plan.stage](changed, machine, process)
        if smaller.peak.total > MUST_SAVE * plan.peak.total:
            continue
        found.append(replace(change, peak=smaller.peak.total, iteration=smaller.iteration))
        plan, config = smaller, changed
        if plan.fits(machine.memory):
            break
    return found


def apply_change(config: Config, change: Change) -> Config | None:
    """Return the config with a change; None if other settings refuse it."""
    settings = config.model_dump(exclude_unset=True, by_alias=True)
    try:
        return build_config(settings, change.setting.split())
    except ConfigError:
        return None


def find_stages(config: Config) -> list[str]:
    """Return the stages that a config has a block of settings for. ConfigError: none that can be planned."""
    blocks = {name: STAGES[name].block if name in STAGES else name for name in PLANNERS} | {"candidates": "circle"}
    stages = [name for name, block in blocks.items() if block in config.model_fields_set]
    if not stages:
        raise ConfigError(f"nothing to plan; give settings of {', '.join(blocks.values())}")
    return stages


def describe_machine(machine: Machine) -> dict[str, Any]:
    """Return the machine for `--json`."""
    return {"name": machine.name, "memory_bytes": machine.memory, "gpus": 0 if machine.is_cpu else machine.count}

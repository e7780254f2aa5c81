"""The metrics of `metrics.jsonl`: what each means, its unit, and what TRL calls it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number of a step. A name with `<...>` stands for one metric of each such thing."""

    name: str
    definition: str
    unit: str = ""
    trl: str = ""
    """The name in TRL's trainers; empty where they have none."""


SHARED = (
    Metric("step", "Steps taken so far, this one included.", "steps", "global_step"),
    Metric("optimizer_steps", "Optimizer steps taken so far; skipped ones do not count.", "steps"),
    Metric("learning_rate", "Step size of Adam in this step.", "", "learning_rate (PPO: lr)"),
    Metric("grad_norm", "Global norm of the gradient before clipping (PPO: mean over minibatches).", "", "grad_norm"),
)
MEASURED = (
    Metric("eval_score", "Mean score on the kept-out prompts, every `eval_steps`.", "score"),
    Metric("eval_score_std", "Standard deviation of those scores.", "score"),
    Metric("eval_responses", "How many responses were measured there.", "responses"),
    Metric("eval_kl", "KL from the reference there, at temperature 1.", "nats"),
    Metric("eval_response_length", "Mean tokens of a response there.", "tokens"),
    Metric("eval_distinct_2", "Distinct pairs of neighbouring words over all pairs in all responses there.", "share"),
    Metric("eval/<judge>", "Mean score there by one judge of `eval.scorer`.", "score"),
    Metric("eval_std/<judge>", "Standard deviation of that judge's scores.", "score"),
    Metric("eval_correlation/<judge>", "Correlation of that judge's scores with the score, over responses.", ""),
)
SFT = (
    Metric("loss", "Mean of -log p over the tokens to be predicted.", "nats a token", "loss"),
    Metric(
        "mean_token_accuracy", "Share of those tokens that the model thought likeliest.", "share", "mean_token_accuracy"
    ),
    Metric("num_tokens", "Tokens read so far, prompts included.", "tokens", "num_tokens"),
)
REWARD = (
    Metric("epoch", "Passes over the pairs so far, by this model of an ensemble.", "passes", "epoch"),
    Metric("member", "Which model of an ensemble, from 0.", ""),
    Metric("num_tokens", "Tokens read so far by this model, a response once a batch.", "tokens", "num_tokens"),
    Metric("loss", "Mean preference loss of the batch, weights and `center_coef` included.", "nats a pair", "loss"),
    Metric("accuracy", "Share of pairs whose chosen response scores higher.", "share", "accuracy"),
    Metric("min_reward", "Lowest score in the batch.", "score", "min_reward"),
    Metric("mean_reward", "Mean score of both sides.", "score", "mean_reward"),
    Metric("max_reward", "Highest score in the batch.", "score", "max_reward"),
    Metric("margin", "Mean score of the chosen minus that of the rejected responses.", "score", "margin"),
    Metric("eval_loss", "Preference loss on the validation pairs, at the end of an epoch.", "nats a pair", "eval_loss"),
    Metric("eval_accuracy", "Share of validation pairs ranked as people did.", "share", "eval_accuracy"),
)
PPO = (
    Metric("episodes", "Responses sampled so far.", "responses", "episode"),
    Metric(
        "score",
        "Mean score of the responses as the sources gave it, a missing end punished.",
        "score",
        "objective/scores",
    ),
    Metric("shaped_score", "The same after centring, normalising, scaling, clipping: what reward is made of.", "score"),
    Metric("score_std", "Standard deviation of those scores.", "score"),
    Metric("unpunished_std", "Standard deviation of the shaped scores before a missing end is punished.", "score"),
    Metric("score_top_share", "Share of responses that have the highest score of the batch.", "share"),
    Metric("score_bottom_share", "Share of responses that have the lowest.", "share"),
    Metric(
        "group_score_std",
        "Standard deviation of the scores of one prompt's responses, mean over prompts; only with several to a prompt.",
        "score",
    ),
    Metric(
        "equal_groups",
        "Share of prompts whose responses all have the same score; only with several to a prompt.",
        "share",
        "frac_reward_zero_std",
    ),
    Metric(
        "score/<source>",
        "Mean score by one reward source, without its weight, over the responses that it did not leave out.",
        "score",
        "rewards/<name>/mean",
    ),
    Metric("logged/<name>", "What reward functions logged by `log_metric(name, value)`; the mean of the step.", ""),
    Metric(
        "reward",
        "Mean of shaped score minus KL penalty, where that is in the reward.",
        "score",
        "objective/rlhf_reward",
    ),
    Metric(
        "kl", "KL from the reference: mean over responses of the sum of log pi - log pi_ref.", "nats", "objective/kl"
    ),
    Metric("kl_std", "Standard deviation over responses of that sum.", "nats"),
    Metric(
        "sampling_gap",
        "Mean of -log pi of the sampled tokens minus mean entropy of pi: 0, up to chance, where pi sampled them.",
        "nats a token",
    ),
    Metric("sampling_gap_error", "Standard error of `sampling_gap`.", "nats a token"),
    Metric("kl_coef", "Price of one nat of KL in this step.", "score a nat"),
    Metric("response_length", "Mean tokens of a response, its end token included.", "tokens"),
    Metric("ended_rate", "Share of responses that ended by themselves, before the length limit.", "share"),
    Metric("repetition", "Share of pairs of neighbouring tokens that stood in the same response before.", "share"),
    Metric("advantage_std", "Standard deviation over tokens of the advantages, as the update takes them.", ""),
    Metric("loss", "Policy loss + kl_coef x KL in the loss + vf_coef x value loss - entropy_coef x entropy.", ""),
    Metric("policy_loss", "Clipped policy loss, mean over minibatches.", "", "loss/policy_avg"),
    Metric(
        "value_loss", "Half the (clipped) squared error of the values; only with a critic.", "score^2", "loss/value_avg"
    ),
    Metric(
        "entropy",
        "Mean entropy of the next-token distribution during the update.",
        "nats a token",
        "policy/entropy_avg",
    ),
    Metric(
        "approx_kl", "Mean of ratio - 1 - log ratio: how far the update went.", "nats a token", "policy/approxkl_avg"
    ),
    Metric("clipfrac", "Share of tokens where the clipped branch was the active one.", "share", "policy/clipfrac_avg"),
    Metric(
        "log_ratio_clamped",
        "Share of tokens whose log-ratio of new to old policy was clamped at ±20 inside `exp`.",
        "share",
    ),
    Metric("ref_log_ratio_clamped", "The same of policy to reference, where k3 takes an `exp` of it.", "share"),
    Metric(
        "kl_loss",
        "KL penalty in the loss, before `kl_coef`; only with `kl_place` loss or loss_ratio.",
        "nats a token",
    ),
    Metric("value_clipfrac", "The same of the value loss; only with a critic.", "share", "val/clipfrac_avg"),
    Metric("ratio", "Mean probability ratio of new to old policy.", "", "val/ratio"),
    Metric("ratio_var", "Variance of that ratio over tokens.", "", "val/ratio_var"),
    Metric("ratio_deviation", "Largest |ratio - 1| of the update.", ""),
    Metric("first_ratio_deviation", "Largest |ratio - 1| before the first optimizer step of the update: 0.", ""),
    Metric(
        "sampler_difference",
        "Mean of |trainer's - sampler's log-probability| before the update (`old_logprobs: sampler` without a critic: "
        "over the first minibatch).",
        "nats a token",
        "sampling/sampling_logp_difference/mean",
    ),
    Metric(
        "sampler_difference_max",
        "The largest of these differences.",
        "nats",
        "sampling/sampling_logp_difference/max",
    ),
    Metric(
        "sampler_difference_unpadded",
        "Mean of these differences over the longest prompts, which have no padding.",
        "nats a token",
    ),
    Metric("sampler_kl", "Mean of the sampler's minus the trainer's log-probability, signed.", "nats a token"),
    Metric(
        "explained_variance", "1 - Var(returns - values) / Var(returns), before the update; only with a critic.", ""
    ),
    Metric(
        "explained_variance_mc",
        "The same with the sum of rewards that followed for the returns, which no value enters; only with a critic.",
        "",
    ),
    Metric("grad_clipped", "Share of minibatches whose gradient was above `max_grad_norm`.", "share"),
    Metric("skipped_updates", "Updates of this step left out because a number was not finite.", "updates"),
)
GYM = (
    Metric("env_steps", "Environment steps taken so far, by all copies together.", "steps"),
    Metric("episodes", "Episodes that have ended so far.", "episodes"),
    Metric("mean_return", "Mean undiscounted return of the last 100 episodes that ended in training.", "reward"),
    Metric("episode_length", "Mean length of those episodes.", "steps"),
    Metric("loss", "Policy loss + vf_coef x value loss - entropy_coef x entropy.", ""),
    Metric("policy_loss", "Clipped policy loss, mean over minibatches.", ""),
    Metric("value_loss", "Half the (clipped) squared error of the values.", "reward^2"),
    Metric("entropy", "Mean entropy of the policy during the update.", "nats"),
    Metric("approx_kl", "Mean of ratio - 1 - log ratio: how far the update went.", "nats"),
    Metric("clipfrac", "Share of steps where the clipped branch was the active one.", "share"),
    Metric("value_clipfrac", "The same of the value loss.", "share"),
    Metric("ratio", "Mean probability ratio of new to old policy.", ""),
    Metric("ratio_var", "Variance of that ratio over steps.", ""),
    Metric("ratio_deviation", "Largest |ratio - 1| of the update.", ""),
    Metric("first_ratio_deviation", "Largest |ratio - 1| before the first optimizer step of the update: 0.", ""),
    Metric("explained_variance", "1 - Var(returns - values) / Var(returns), before the update.", ""),
    Metric("skipped_updates", "Updates of this step left out because a number was not finite.", "updates"),
    Metric("log_ratio_clamped", "Share of steps whose log-ratio was clamped at ±20 inside `exp`.", "share"),
    Metric("grad_clipped", "Share of minibatches whose gradient was scaled down to `max_grad_norm`.", "share"),
    Metric("cliprange", "Clip range of this update.", ""),
)
DPO = (
    Metric("epoch", "Passes over the pairs so far.", "passes", "epoch"),
    Metric("num_tokens", "Tokens read so far, both sides of each pair with their prompt.", "tokens", "num_tokens"),
    Metric("loss", "Mean loss of the batch, weights included; log 2 at the start.", "nats a pair", "loss"),
    Metric("rewards/chosen", "Mean of beta x log(pi / pi_ref) of the chosen responses.", "score", "rewards/chosen"),
    Metric("rewards/rejected", "The same of the rejected ones.", "score", "rewards/rejected"),
    Metric("rewards/margins", "Mean of the first minus the second.", "score", "rewards/margins"),
    Metric("rewards/accuracies", "Share of pairs where the first is the larger.", "share", "rewards/accuracies"),
    Metric("logps/chosen", "Mean log-probability of the chosen responses.", "nats a response", "logps/chosen"),
    Metric("logps/rejected", "The same of the rejected ones.", "nats a response", "logps/rejected"),
    Metric("entropy", "Mean entropy of the next-token distribution over both responses.", "nats a token", "entropy"),
)

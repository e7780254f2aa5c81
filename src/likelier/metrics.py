"""Definitions of the metrics in `metrics.jsonl`: meaning, unit, and name in TRL."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number per step. A name with `<...>` is a family of metrics, one for each value."""

    name: str
    definition: str
    unit: str = ""
    trl: str = ""
    """The name in TRL's trainers; empty if there is none."""


SHARED = (
    Metric("step", "Training steps so far, including this one.", "steps", "global_step"),
    Metric("optimizer_steps", "Optimizer steps so far, without skipped ones.", "steps"),
    Metric("learning_rate", "Learning rate of this step.", "", "learning_rate (PPO: lr)"),
    Metric("grad_norm", "Global norm of the gradient before clipping (PPO: mean over minibatches).", "", "grad_norm"),
)
HELD_OUT_EVALUATION = (
    Metric("eval_score", "Mean score on the held-out prompts, every `eval_steps`.", "score"),
    Metric("eval_score_std", "Standard deviation of those scores.", "score"),
    Metric("eval_responses", "Number of evaluated responses.", "responses"),
    Metric("eval_kl", "KL from the reference on the held-out prompts, at temperature 1.", "nats"),
    Metric("eval_response_length", "Mean response length in that evaluation.", "tokens"),
    Metric(
        "eval_distinct_2", "Distinct bigrams of words over all bigrams, in all responses of that evaluation.", "share"
    ),
    Metric("eval_knowledge", "Mean log-probability of the known answers of `eval.knowledge`.", "nats an answer"),
    Metric("eval/<judge>", "Mean score on the held-out prompts by one judge of `eval.scorer`.", "score"),
    Metric("eval_std/<judge>", "Standard deviation of that judge's scores.", "score"),
    Metric("eval_correlation/<judge>", "Correlation of that judge's scores with the score, over responses.", ""),
)
SFT = (
    Metric("loss", "Mean cross-entropy over the predicted tokens.", "nats a token", "loss"),
    Metric(
        "mean_token_accuracy", "Share of predicted tokens that the model ranks first.", "share", "mean_token_accuracy"
    ),
    Metric("num_tokens", "Tokens read so far, prompts included.", "tokens", "num_tokens"),
)
REWARD = (
    Metric("epoch", "Epochs so far, of this member of an ensemble.", "passes", "epoch"),
    Metric("member", "Index of the ensemble member, from 0.", ""),
    Metric(
        "num_tokens", "Tokens read so far by this member; a response counts once per batch.", "tokens", "num_tokens"
    ),
    Metric("loss", "Mean preference loss of the batch, including weights and `center_coef`.", "nats a pair", "loss"),
    Metric("accuracy", "Share of pairs whose chosen response scores higher.", "share", "accuracy"),
    Metric("min_reward", "Lowest score in the batch.", "score", "min_reward"),
    Metric("mean_reward", "Mean score of chosen and rejected responses.", "score", "mean_reward"),
    Metric("max_reward", "Highest score in the batch.", "score", "max_reward"),
    Metric("margin", "Mean score of the chosen minus that of the rejected responses.", "score", "margin"),
    Metric("eval_loss", "Preference loss on the validation pairs, at the end of an epoch.", "nats a pair", "eval_loss"),
    Metric("eval_accuracy", "Share of validation pairs ranked as by the annotators.", "share", "eval_accuracy"),
)
PPO = (
    Metric("episodes", "Responses sampled so far.", "responses", "episode"),
    Metric(
        "score",
        "Mean raw score of the responses, with the penalty for a missing end token.",
        "score",
        "objective/scores",
    ),
    Metric(
        "shaped_score", "The same after centring, normalising, scaling and clipping, as it enters the reward.", "score"
    ),
    Metric("score_std", "Standard deviation of those scores.", "score"),
    Metric(
        "unpunished_std",
        "Standard deviation of the shaped scores without the penalty for a missing end token.",
        "score",
    ),
    Metric("score_top_share", "Share of responses with the highest score of the batch.", "share"),
    Metric("score_bottom_share", "Share of responses with the lowest score of the batch.", "share"),
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
    Metric(
        "disagreement/<source>",
        "Standard deviation between the models of a reward run, mean over responses; only with several models.",
        "score",
    ),
    Metric("people/rated", "Responses of the step that people rated; only with people in `reward`.", "responses"),
    Metric(
        "people/by_model",
        "Responses of the step that nobody rated in time, scored by the model of people's ratings.",
        "responses",
    ),
    Metric("people/responses_rated", "Different responses that people have rated so far, in all steps.", "responses"),
    Metric(
        "people/ratings_left_out",
        "Ratings so far by people whom the check of ratings flags: they do not count.",
        "ratings",
    ),
    Metric(
        "people/model_correlation",
        "Correlation between people's scores of responses and what the model says of each when it is left out; from 10 "
        "rated responses on.",
        "",
    ),
    Metric(
        "distance/<source>",
        "Mahalanobis distance of what the reward model reads of a response from its training responses; the mean.",
        "",
    ),
    Metric(
        "high_distance/<source>",
        "Share of responses whose distance exceeds that of 95 in 100 held out of the reward model's training.",
        "share",
    ),
    Metric(
        "high_disagreement/<source>",
        "The same of the disagreement between models; only with several models.",
        "share",
    ),
    Metric("logged/<name>", "What reward functions logged by `log_metric(name, value)`; the mean of the step.", ""),
    Metric(
        "reward",
        "Mean of the shaped score, minus the KL penalty if `kl_place` is reward.",
        "score",
        "objective/rlhf_reward",
    ),
    Metric(
        "kl", "KL from the reference: mean over responses of the sum of log pi - log pi_ref.", "nats", "objective/kl"
    ),
    Metric("kl_std", "Standard deviation over responses of that sum.", "nats"),
    Metric(
        "sampling_gap",
        "Mean of -log pi of the sampled tokens minus the mean entropy of pi: 0 in expectation if pi sampled them.",
        "nats a token",
    ),
    Metric("sampling_gap_error", "Standard error of `sampling_gap`.", "nats a token"),
    Metric("kl_coef", "KL coefficient in this step.", "score a nat"),
    Metric("response_length", "Mean response length, including the end token; without what tools answered.", "tokens"),
    Metric(
        "tool_calls",
        "Answers that tools gave in a response, the mean; only with `tools`.",
        "calls",
        "tool_call_counts/mean",
    ),
    Metric("tool_tokens", "Tokens of these answers in a response, the mean.", "tokens"),
    Metric("ended_rate", "Share of responses that ended with an end token, before the length limit.", "share"),
    Metric("repetition", "Share of token bigrams that occurred earlier in the same response.", "share"),
    Metric("advantage_std", "Standard deviation over tokens of the advantages, as used by the update.", ""),
    Metric("loss", "Policy loss + kl_coef x KL in the loss + vf_coef x value loss - entropy_coef x entropy.", ""),
    Metric("policy_loss", "Clipped policy loss, or that of `loss`; mean over minibatches.", "", "loss/policy_avg"),
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
        "approx_kl",
        "Mean of ratio - 1 - log ratio: k3 estimate of KL(old || new policy).",
        "nats a token",
        "policy/approxkl_avg",
    ),
    Metric(
        "clipfrac",
        "Share of tokens for which the clipped branch is active; null with a `loss` of your own.",
        "share",
        "policy/clipfrac_avg",
    ),
    Metric(
        "log_ratio_clamped",
        "Share of tokens whose log-ratio of new to old policy was clamped at ±20 inside `exp`.",
        "share",
    ),
    Metric("ref_log_ratio_clamped", "The same of policy to reference, inside the `exp` of k3.", "share"),
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
        "over the first minibatch, of it at most a quarter of all responses).",
        "nats a token",
        "sampling/sampling_logp_difference/mean",
    ),
    Metric(
        "sampler_difference_max",
        "Maximum of these differences.",
        "nats",
        "sampling/sampling_logp_difference/max",
    ),
    Metric(
        "sampler_difference_unpadded",
        "Mean of these differences over the longest prompts, which have no padding.",
        "nats a token",
    ),
    Metric(
        "staleness",
        "Updates between the policy that drew the responses and the one that learns from them; with `async_steps`.",
        "updates",
    ),
    Metric("sampler_kl", "Mean of the sampler's minus the trainer's log-probability.", "nats a token"),
    Metric(
        "explained_variance", "1 - Var(returns - values) / Var(returns), before the update; only with a critic.", ""
    ),
    Metric(
        "explained_variance_mc",
        "The same with Monte-Carlo returns (sums of the following rewards, no bootstrapping); only with a critic.",
        "",
    ),
    Metric("grad_clipped", "Share of minibatches whose gradient norm exceeded `max_grad_norm`.", "share"),
    Metric("skipped_updates", "Minibatch updates of this step skipped because of non-finite numbers.", "updates"),
)
GYM = (
    Metric("env_steps", "Environment steps so far, over all sub-environments.", "steps"),
    Metric("episodes", "Completed episodes so far.", "episodes"),
    Metric("mean_return", "Mean undiscounted return of the last 100 completed training episodes.", "reward"),
    Metric("episode_length", "Mean length of those episodes.", "steps"),
    Metric("loss", "Policy loss + vf_coef x value loss - entropy_coef x entropy.", ""),
    Metric("policy_loss", "Clipped policy loss, mean over minibatches.", ""),
    Metric("value_loss", "Half the (clipped) squared error of the values.", "reward^2"),
    Metric("entropy", "Mean entropy of the policy during the update.", "nats"),
    Metric("approx_kl", "Mean of ratio - 1 - log ratio: k3 estimate of KL(old || new policy).", "nats"),
    Metric("clipfrac", "Share of steps for which the clipped branch is active.", "share"),
    Metric("value_clipfrac", "The same of the value loss.", "share"),
    Metric("ratio", "Mean probability ratio of new to old policy.", ""),
    Metric("ratio_var", "Variance of that ratio over steps.", ""),
    Metric("ratio_deviation", "Largest |ratio - 1| of the update.", ""),
    Metric("first_ratio_deviation", "Largest |ratio - 1| before the first optimizer step of the update: 0.", ""),
    Metric("explained_variance", "1 - Var(returns - values) / Var(returns), before the update.", ""),
    Metric("skipped_updates", "Minibatch updates of this step skipped because of non-finite numbers.", "updates"),
    Metric("log_ratio_clamped", "Share of steps whose log-ratio was clamped at ±20 inside `exp`.", "share"),
    Metric("grad_clipped", "Share of minibatches whose gradient norm exceeded `max_grad_norm`.", "share"),
    Metric("cliprange", "Clip range of this update.", ""),
    Metric("preferences/asked", "Comparisons of clips asked about so far.", "comparisons"),
    Metric("preferences/answered", "Of these, answered when the reward was last learned.", "comparisons"),
    Metric("preferences/accuracy", "Share of answers foretold by members that did not learn from them.", "share"),
    Metric("preferences/disagreement", "Mean deviation of the members' probabilities on the newest pairs.", ""),
    Metric("preferences/reward", "Mean learned reward of a step of the rollout.", "rms of the clips"),
)
DPO = (
    Metric("epoch", "Epochs so far.", "passes", "epoch"),
    Metric("num_tokens", "Tokens read so far: both sides of each pair, with the prompt.", "tokens", "num_tokens"),
    Metric("loss", "Mean loss of the batch, including weights; log 2 at the start.", "nats a pair", "loss"),
    Metric("rewards/chosen", "Mean of beta x log(pi / pi_ref) of the chosen responses.", "score", "rewards/chosen"),
    Metric("rewards/rejected", "The same of the rejected ones.", "score", "rewards/rejected"),
    Metric("rewards/margins", "Mean of `rewards/chosen` minus `rewards/rejected`.", "score", "rewards/margins"),
    Metric(
        "rewards/accuracies",
        "Share of pairs whose `rewards/chosen` exceeds `rewards/rejected`.",
        "share",
        "rewards/accuracies",
    ),
    Metric("logps/chosen", "Mean log-probability of the chosen responses.", "nats a response", "logps/chosen"),
    Metric("logps/rejected", "The same of the rejected ones.", "nats a response", "logps/rejected"),
    Metric("entropy", "Mean entropy of the next-token distribution over both responses.", "nats a token", "entropy"),
)

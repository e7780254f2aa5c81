"""Online DPO as a policy loss of one's own (Guo et al. 2024, arXiv 2402.04792): two responses to each prompt, sampled
from the policy as it is, and the better one by the reward is preferred.

    likelier ppo … ppo.algorithm=rloo ppo.responses_per_prompt=2 ppo.num_mini_batches=1 ppo.whiten_advantages=false
        ppo.loss=bench/online_dpo.py:loss
"""

import torch
from torch import Tensor


def loss(
    logprobs: Tensor, old_logprobs: Tensor, ref_logprobs: Tensor, advantages: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """-log sigmoid(kl_coef * (h(better) - h(worse))), h = log pi / pi_ref of the response; mean over pairs.

    RLOO's advantages of two responses are r - r' and r' - r. Rows come shuffled, so the two of a prompt are found by
    their equal size: rewards must be such that no two prompts have the same difference. ValueError: a row without its
    partner.
    """
    differences = advantages[:, 0]
    first, second = differences.abs().argsort(stable=True).view(-1, 2).T
    if not torch.allclose(differences[first], -differences[second], atol=1e-5):
        raise ValueError("rows are no pairs; set ppo.responses_per_prompt=2 and ppo.num_mini_batches=1")
    ratio = (logprobs - ref_logprobs).sum(1)
    # A tie has sign 0 and no gradient.
    margin = differences[first].sign() * ratio[first] + differences[second].sign() * ratio[second]
    return -torch.nn.functional.logsigmoid(kl_coef * margin).mean()

"""What `engines.worker` asks of vLLM, in small: a transformers model from the folder's config, passes without a cache.

It shares no code with our sampler. Weights come by `reload_weights`, adapters by peft's folders, and each request is
seeded by itself, as in vLLM.
"""

import torch


class SamplingParams:
    def __init__(self, **settings):
        self.settings = settings


class Part:
    def __init__(self, **fields):
        self.__dict__.update(fields)


class LLM:
    def __init__(self, model, **arguments):
        if "refuse" in arguments:
            raise ValueError(arguments["refuse"])
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # not to refuse

        if arguments.get("enable_lora") and AutoConfig.from_pretrained(model).model_type == "gpt2":
            raise ValueError("GPT2LMHeadModel does not support LoRA yet.")
        print("vLLM speaks on stdout")
        self.arguments, self.llm_engine, self.asked = arguments, self, []
        torch.manual_seed(99)  # load_format dummy
        self.model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model)).eval()
        self.tokenizer = None if arguments["skip_tokenizer_init"] else AutoTokenizer.from_pretrained(model)
        self.resets = 0

    def collective_rpc(self, method, kwargs):
        assert method == "reload_weights"
        ours = {name.replace(".base_layer", ""): name for name in self.model.state_dict() if "lora_" not in name}
        if self.model.config.tie_word_embeddings:
            del ours["lm_head.weight"]
        weights = dict(kwargs["weights_iterator"])
        assert weights.keys() == ours.keys()
        self.model.load_state_dict({ours[name]: weight for name, weight in weights.items()}, strict=False)

    def apply_model(self, function):
        return [function(self.model)]

    def reset_prefix_cache(self):
        self.resets += 1

    def add_lora(self, request):
        self.model.load_adapter(request.lora_path, adapter_name=request.lora_name.replace(" ", "_"))

    def remove_lora(self, number):
        self.model.delete_adapter(f"adapter_{number}")

    @torch.no_grad()
    def generate(self, prompts, params, lora_request, use_tqdm):
        assert not use_tqdm
        rows = zip(prompts, params, strict=True)
        return [Part(outputs=[self.answer(each["prompt_token_ids"], param.settings)]) for each, param in rows]

    def answer(self, prompt, settings):
        self.asked.append(settings)
        generator = torch.Generator().manual_seed(settings["seed"])
        tokens, logprobs = [], []
        while len(tokens) < settings["max_tokens"]:
            logits = self.model(input_ids=torch.tensor([prompt + tokens])).logits[0, -1] / settings["temperature"]
            if settings["top_k"]:
                logits[logits < logits.topk(settings["top_k"]).values[-1]] = -torch.inf
            distribution = logits.log_softmax(-1)
            token = int(distribution.exp().multinomial(1, generator=generator))
            tokens.append(token)
            logprobs.append({token: Part(logprob=float(distribution[token]))})
            text = self.tokenizer.decode(tokens, skip_special_tokens=True) if settings["detokenize"] else ""
            if token in settings["stop_token_ids"] or any(stop in text for stop in settings["stop"]):
                break
        return Part(token_ids=tokens, logprobs=logprobs)

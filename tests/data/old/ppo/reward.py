def count_a(prompts, responses):
    return [float(response.split().count("a")) for response in responses]

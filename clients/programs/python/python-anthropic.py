import sys

import anthropic

what, base = sys.argv[1:]
client = anthropic.Anthropic(base_url=base, api_key="test")
question = {"model": "test", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
if what == "stream":
    with client.messages.stream(**question) as stream:
        for text in stream.text_stream:
            print(text, flush=True)
else:
    print(client.messages.create(**question).content[0].text)

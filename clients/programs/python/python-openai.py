import sys

import openai

what, base = sys.argv[1:]
client = openai.OpenAI(base_url=base + "/v1", api_key="test")
question = {"model": "test", "messages": [{"role": "user", "content": "hello"}]}
if what == "stream":
    for chunk in client.chat.completions.create(stream=True, **question):
        print(chunk.choices[0].delta.content, flush=True)
else:
    print(client.chat.completions.create(**question).choices[0].message.content)

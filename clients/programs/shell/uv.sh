uv pip install --quiet --python "$(command -v python)" --target here --index-url "$2/pypi/" sandgate-sample
PYTHONPATH=here python -c 'import sandgate_sample'

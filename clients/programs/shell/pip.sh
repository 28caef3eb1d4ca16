pip install --quiet --disable-pip-version-check --target here --index-url "$2/pypi/" sandgate-sample
PYTHONPATH=here python -c 'import sandgate_sample'

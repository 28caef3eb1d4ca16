gem install --no-document --install-dir here --clear-sources --source "$2/gems/" sandgate-sample
cat here/gems/sandgate-sample-1.0/lib/sandgate-sample.rb

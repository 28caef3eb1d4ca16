git clone --quiet "$2/git/repository.git" clone
cat clone/README

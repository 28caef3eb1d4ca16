printf '<settings><mirrors><mirror><id>origin</id><mirrorOf>*</mirrorOf><url>%s/maven/</url></mirror></mirrors></settings>' "$2" >settings.xml
cat >pom.xml <<'POM'
<project><modelVersion>4.0.0</modelVersion><artifactId>here</artifactId>
<parent><groupId>test.origin</groupId><artifactId>parent</artifactId><version>1.0</version><relativePath/></parent></project>
POM
mvn --batch-mode --quiet --settings settings.xml -Dmaven.repo.local=repository validate
grep -ho '<description>[^<]*' repository/test/origin/parent/1.0/parent-1.0.pom

cat >build.gradle <<GRADLE
repositories { maven { url '$2/maven/' } }
configurations { sample }
dependencies { sample 'test.origin:sample:1.0@txt' }
task show { doLast { configurations.sample.files.each { println it.text } } }
GRADLE
touch settings.gradle
gradle --quiet --no-daemon --gradle-user-home "$PWD/gradle" show

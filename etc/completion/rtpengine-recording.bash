# bash completion of rtpengine-recording. Generated: see docs/man.
_rtpengine_recording() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    # '=' is a word of its own.
    if [[ $cur == = ]]; then cur=""; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    case $prev in
        --config-file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --config-section) COMPREPLY=(); return ;;
        --pidfile | -p) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --thread-stack) COMPREPLY=(); return ;;
        --poller-size) COMPREPLY=(); return ;;
        --evs-lib-path) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --log-facility) mapfile -t COMPREPLY < <(compgen -W "auth authpriv cron daemon ftp kern lpr mail news syslog user uucp local0 local1 local2 local3 local4 local5 local6 local7" -- "$cur"); return ;;
        --log-level | -L) COMPREPLY=(); return ;;
        --log-level-core) COMPREPLY=(); return ;;
        --log-level-ffmpeg) COMPREPLY=(); return ;;
        --log-level-internals) COMPREPLY=(); return ;;
        --max-log-line-length) COMPREPLY=(); return ;;
        --log-name) COMPREPLY=(); return ;;
        --log-mark-prefix) COMPREPLY=(); return ;;
        --log-mark-suffix) COMPREPLY=(); return ;;
        --table | -t) COMPREPLY=(); return ;;
        --spool-dir) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --num-threads) COMPREPLY=(); return ;;
        --output-storage) COMPREPLY=(); return ;;
        --output-dir) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --output-pattern) COMPREPLY=(); return ;;
        --output-format) mapfile -t COMPREPLY < <(compgen -W "wav mp3 flac opus none" -- "$cur"); return ;;
        --resample-to) COMPREPLY=(); return ;;
        --mp3-bitrate) COMPREPLY=(); return ;;
        --opus-bitrate) COMPREPLY=(); return ;;
        --mix-method) mapfile -t COMPREPLY < <(compgen -W "direct channels" -- "$cur"); return ;;
        --mix-num-inputs) COMPREPLY=(); return ;;
        --output-chmod) COMPREPLY=(); return ;;
        --output-chmod-dir) COMPREPLY=(); return ;;
        --output-chown) COMPREPLY=(); return ;;
        --output-chgrp) COMPREPLY=(); return ;;
        --output-buffer) COMPREPLY=(); return ;;
        --output-memory-limit) COMPREPLY=(); return ;;
        --report-file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --sqlite-db) COMPREPLY=(); return ;;
        --mysql-host) COMPREPLY=(); return ;;
        --mysql-port) COMPREPLY=(); return ;;
        --mysql-user) COMPREPLY=(); return ;;
        --mysql-pass) COMPREPLY=(); return ;;
        --mysql-db) COMPREPLY=(); return ;;
        --forward-to) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --tcp-send-to) COMPREPLY=(); return ;;
        --tls-send-to) COMPREPLY=(); return ;;
        --tcp-resample) COMPREPLY=(); return ;;
        --tls-resample) COMPREPLY=(); return ;;
        --notify-uri) COMPREPLY=(); return ;;
        --notify-concurrency) COMPREPLY=(); return ;;
        --notify-retries) COMPREPLY=(); return ;;
        --notify-retry-delay) COMPREPLY=(); return ;;
        --notify-command) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --s3-host) COMPREPLY=(); return ;;
        --s3-port) COMPREPLY=(); return ;;
        --s3-path) COMPREPLY=(); return ;;
        --s3-access-key) COMPREPLY=(); return ;;
        --s3-secret-key) COMPREPLY=(); return ;;
        --s3-region) COMPREPLY=(); return ;;
        --upload-part-size) COMPREPLY=(); return ;;
        --gcs-uri) COMPREPLY=(); return ;;
        --gcs-key) COMPREPLY=(); return ;;
        --gcs-service-account) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --gcs-scope) COMPREPLY=(); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "--help --version --config-file --config-section --pidfile --foreground --thread-stack --poller-size --evs-lib-path --log-facility --log-level --log-level-core --log-level-ffmpeg --log-level-internals --log-stderr --split-logs --max-log-line-length --no-log-timestamps --log-name --log-mark-prefix --log-mark-suffix --table --spool-dir --num-threads --output-storage --output-dir --output-pattern --output-format --resample-to --mp3-bitrate --opus-bitrate --output-mixed --mix-method --mix-num-inputs --output-single --output-mixed-per-media --output-chmod --output-chmod-dir --output-chown --output-chgrp --output-buffer --flush-packets --output-memory-limit --output-sidecar --report-file --sqlite-db --mysql-host --mysql-port --mysql-user --mysql-pass --mysql-db --forward-to --tcp-send-to --tls-send-to --tcp-resample --tls-resample --tcp-mixed --tls-mixed --notify-uri --notify-post --notify-no-verify --notify-concurrency --notify-retries --notify-retry-delay --notify-command --notify-record --notify-purge --s3-host --s3-port --s3-path --s3-access-key --s3-secret-key --s3-region --s3-no-verify --upload-part-size --gcs-uri --gcs-key --gcs-service-account --gcs-scope --gcs-no-verify --gcs-media-link" -- "$cur")
}
complete -F _rtpengine_recording rtpengine-recording

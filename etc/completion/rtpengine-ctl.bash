# bash completion of rtpengine-ctl. Generated: see docs/man.
_rtpengine_ctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} path="" words="" word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            --ip|-ip|--port|-port|--timeout|-timeout|--config-file|-config-file) ((i++)) ;;
            -*) ;;
            *)
                case $path in call | "call * tag") word='*' ;; esac
                [[ $path == json ]] && path=""
                path="${path:+$path }$word"
                ;;
        esac
    done
    [[ $path == json ]] && path=""
    case $path in
        "") words="usage list terminate set get params ksadd ksrm kslist active standby debug call media json top --ip --port --timeout --config-file --json" ;;
        "list") words="numsessions sessions totals counters maxopenfiles maxsessions maxcpu maxload maxbw timeout silenttimeout offertimeout finaltimeout loglevels loglevel redisallowederrors redisdisabletime redisconnecttimeout rediscmdtimeout controltos deletedelay interfaces jsonstats transcoders" ;;
        "list sessions") words="all own foreign $(rtpengine-ctl list sessions all 2>/dev/null | sed -n 's/^ID: *\([^ ]*\) .*/\1/p')" ;;
        "terminate") words="all own foreign $(rtpengine-ctl list sessions all 2>/dev/null | sed -n 's/^ID: *\([^ ]*\) .*/\1/p')" ;;
        "set") words="maxopenfiles maxsessions maxcpu maxload maxbw timeout silenttimeout offertimeout finaltimeout loglevel redisallowederrors redisdisabletime redisdisable redisconnecttimeout rediscmdtimeout controltos deletedelay" ;;
        "set redisdisable") words="0 1" ;;
        "get") words="numsessions sessions totals counters maxopenfiles maxsessions maxcpu maxload maxbw timeout silenttimeout offertimeout finaltimeout loglevels loglevel redisallowederrors redisdisabletime redisconnecttimeout rediscmdtimeout controltos deletedelay interfaces jsonstats transcoders" ;;
        "get sessions") words="all own foreign $(rtpengine-ctl list sessions all 2>/dev/null | sed -n 's/^ID: *\([^ ]*\) .*/\1/p')" ;;
        "params") words="start current diff revert" ;;
        "debug") words="off $(rtpengine-ctl list sessions all 2>/dev/null | sed -n 's/^ID: *\([^ ]*\) .*/\1/p')" ;;
        "call") words=" $(rtpengine-ctl list sessions all 2>/dev/null | sed -n 's/^ID: *\([^ ]*\) .*/\1/p')" ;;
        "call *") words="info terminate debug tag" ;;
        "call * debug") words="on off" ;;
        "call * tag *") words="info delay detect-dtmf" ;;
        "call * tag * detect-dtmf") words="0 1" ;;
        "media") words="list add reload evict" ;;
        "media list") words="files dbs caches players" ;;
        "media add") words="file db cache" ;;
        "media reload") words="file files db dbs cache caches" ;;
        "media evict") words="file files db dbs cache caches players" ;;
        "json") words="live" ;;
        "top") words="--once --interval" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _rtpengine_ctl rtpengine-ctl

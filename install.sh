#!/usr/bin/env bash
# Install wirt for real, from this checkout, into /opt/wirt. Safe to run again: it upgrades.
#   sudo ./install.sh               install or upgrade, start where systemd runs
#   sudo ./install.sh --uninstall   stop, remove the programs; guests' data stays in /var/lib/wirt
#   sudo ./install.sh --purge       the same, and delete /var/lib/wirt and the user wirt
set -eEuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

prefix=/opt/wirt
state=/var/lib/wirt
run=/run/wirt
launcher=/usr/local/bin/wirt
units=(wirt-helper.service wirtd.service)

fail() {
    printf 'install: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

has_systemd() { [[ -d /run/systemd/system ]]; }

instance() { "$prefix/.venv/bin/python" "$prefix/tools/instance.py" "$1" --name wirt --state "$state" --run "$run" --no-images; }

stop() { # the daemon, the helper and all guests; quietly nothing when there are none
    if has_systemd; then
        systemctl disable --now "${units[@]}" 2>/dev/null || true
    fi
    [[ ! -x $prefix/tools/instance.py ]] || instance down >/dev/null ||
        fail "wirt is not wholly stopped, so its programs stay" "sudo ./install.sh mends them; then --uninstall again"
}

uninstall() {
    stop
    rm -rf "$prefix"
    rm -f "$launcher" "${units[@]/#//etc/systemd/system/}"
    ! has_systemd || systemctl daemon-reload
    if [[ $1 == --purge ]]; then
        rm -rf "$state"
        userdel wirt 2>/dev/null || ! id wirt >/dev/null 2>&1 || echo "the user wirt is left: processes of it run"
        groupdel wirt 2>/dev/null || true
        echo "wirt and its data are gone"
        [[ ! -e /etc/wirt ]] || echo "its settings in /etc/wirt are left to you"
    else
        echo "wirt is uninstalled; its data is still in $state (--purge deletes that too)"
    fi
}

programs() { # everything below the prefix, made beside the old one and swapped in
    local new=$prefix.new
    rm -rf "$new"
    install -d "$new/build" "$new/tools" "$new/share"
    install -D -t "$new/build/native" build/native/wirt-{keeper,agent,jail,join,init,load}
    cp -a build/guest "$new/build/"
    rm -f "$new"/build/guest/*.deb
    install -m 755 tools/{instance,ending,supervisor}.py "$new/tools/"
    install -m 644 README.md ARCHITECTURE.md "$new/share/"
    rm -rf "$prefix.old"
    [[ ! -e $prefix ]] || mv "$prefix" "$prefix.old"
    trap 'rm -rf "$prefix"; [[ ! -e $prefix.old ]] || mv "$prefix.old" "$prefix"' ERR
    mv "$new" "$prefix"
    # A virtual environment knows its own path, so it is made where it will stay.
    /usr/bin/python3 -m venv "$prefix/.venv"
    local pip=("$prefix/.venv/bin/python" -m pip install -qq --no-input)
    "${pip[@]}" -r requirements.lock "$(grep '^setuptools==' requirements-dev.lock)"
    rm -rf build/lib build/bdist.*
    "${pip[@]}" --no-deps --no-build-isolation .
    "$prefix/.venv/bin/python" -m compileall -q "$prefix/.venv/lib" >/dev/null || true
    chown -R root:root "$prefix"
    trap - ERR
    rm -rf "$prefix.old"
}

make_launcher() { # a bare interpreter: no site, no environment hooks, the fastest start
    local main
    main=$(cd / && "$prefix/.venv/bin/python" -c \
        'import importlib.util as u; print(u.find_spec("wirt.cli").submodule_search_locations[0])')/main.py
    [[ -f $main ]] || fail "the installed package has no $main" "report this: it is a bug in install.sh"
    printf '#!/bin/sh\nexec %s -I -S -X utf8 %s "$@"\n' "$prefix/.venv/bin/python" "$main" >"$launcher.new"
    chmod 755 "$launcher.new"
    mv -f "$launcher.new" "$launcher"
}

start() {
    if has_systemd; then
        install -m 644 "${units[@]/#/packaging/systemd/}" /etc/systemd/system/
        systemctl daemon-reload
        systemctl enable "${units[@]}"
        systemctl restart "${units[@]}"
        echo "wirt is installed and running: try 'wirt info'"
    elif instance status >/dev/null; then
        instance restart >/dev/null
        echo "wirt is upgraded and restarted; guests went on running"
    else
        echo "wirt is installed. There is no systemd here; start it, now and after each boot, with:"
        echo "  $prefix/tools/instance.py up --name wirt --state $state --run $run --no-images"
    fi
}

((EUID == 0)) || fail "installing needs root" "sudo ./install.sh ${*:-}"
case ${1:-} in
    --uninstall | --purge) uninstall "$1" ;;
    '')
        PACKAGES='run|build' tools/setup
        install -d -m 755 "$state"
        programs
        make_launcher
        start
        echo "members of the group wirt may use it without root: usermod -aG wirt NAME"
        ;;
    *) fail "unknown argument: $1" "the arguments are none, --uninstall and --purge" ;;
esac

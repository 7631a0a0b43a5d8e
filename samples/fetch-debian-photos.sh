#!/bin/sh
# fetch-debian-photos.sh - fetches and prepares the photographs the default model is trained on.
#
#   samples/fetch-debian-photos.sh DIR
#
# Downloads the Debian 12 packages below with apt-get download (331 MB; no root, nothing is installed),
# unpacks them in a temporary folder, shrinks every photograph so far that its JPEG artefacts vanish
# and writes it to DIR as PNG.  The packages' copyright files are copied to DIR/licences.  What is
# there already is kept, so a run that was interrupted goes on where it stopped.
#
# Landscapes are halved.  Other photographs are brought to a long edge of 1024 pixels, or to 5/8 of
# their size when that is smaller.  Drawings, renders and logos of the wallpaper packages are left out.
set -eu

# Debian packages this script needs beyond a base system.
TOOLS="imagemagick"

LANDSCAPES="endless-sky-high-dpi"
LANDSCAPE_FOLDER="usr/share/games/endless-sky/plugins/endless-sky-high-dpi/images/land"

# PACKAGE FILE-WITHOUT-FOLDER...: the photographs among the pictures of each package.
photographs() {
    cat <<'LIST'
lomiri-wallpapers-16.04 usr/share/backgrounds Bridge_by_Sander_Klootwijk.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds Dragonfly_by_Bolly.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds Picture_0B_by_freespace.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds Picture_1A_by_freespace.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds Wine_by_Jakkub_Mede.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds aitzgorri_by_Aitzol_Berasategi.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds free_by_Peter_Nerlich.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds friends_by_Aitzol_Berasategi.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds greentock_by_Peter_Nerlich.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds life_by_Aitzol_Berasategi.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds picosdeeuropa_by_Aitzol_Berasategi.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds seeding_by_Clements_Engelhardt.jpg
lomiri-wallpapers-16.04 usr/share/backgrounds sunset_by_Aitzol_Berasategi.jpg
lomiri-wallpapers-20.04 usr/share/backgrounds Kleiber_by_Lukas_Baubkus.jpg
lxqt-themes usr/share/lxqt/wallpapers Butterfly-Kenneth-Wimer.jpg
lxqt-themes usr/share/lxqt/wallpapers Valendas.png
lxqt-themes usr/share/lxqt/wallpapers after-the-rain.jpg
lxqt-themes usr/share/lxqt/wallpapers appleflower.png
lxqt-themes usr/share/lxqt/wallpapers beam.png
lxqt-themes usr/share/lxqt/wallpapers butterfly.png
lxqt-themes usr/share/lxqt/wallpapers cloud.png
lxqt-themes usr/share/lxqt/wallpapers drop.png
lxqt-themes usr/share/lxqt/wallpapers flowers.png
lxqt-themes usr/share/lxqt/wallpapers fog.jpg
lxqt-themes usr/share/lxqt/wallpapers this-is-not-windows.jpg
mate-backgrounds usr/share/backgrounds/mate/nature Aqua.jpg
mate-backgrounds usr/share/backgrounds/mate/nature Blinds.jpg
mate-backgrounds usr/share/backgrounds/mate/nature Dune.jpg
mate-backgrounds usr/share/backgrounds/mate/nature FreshFlower.jpg
mate-backgrounds usr/share/backgrounds/mate/nature Garden.jpg
mate-backgrounds usr/share/backgrounds/mate/nature GreenMeadow.jpg
mate-backgrounds usr/share/backgrounds/mate/nature LadyBird.jpg
mate-backgrounds usr/share/backgrounds/mate/nature RainDrops.jpg
mate-backgrounds usr/share/backgrounds/mate/nature Storm.jpg
mate-backgrounds usr/share/backgrounds/mate/nature TwoWings.jpg
mate-backgrounds usr/share/backgrounds/mate/nature Wood.jpg
mate-backgrounds usr/share/backgrounds/mate/nature YellowFlower.jpg
palapeli-data usr/share/palapeli/collection castle-maintenon.jpg
palapeli-data usr/share/palapeli/collection cincinnati-bridge.jpg
palapeli-data usr/share/palapeli/collection citrus-fruits.jpg
palapeli-data usr/share/palapeli/collection european-honey-bee.jpg
palapeli-data usr/share/palapeli/collection panther-chameleon-female.jpg
plasma-workspace-wallpapers usr/share/wallpapers Autumn/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers BytheWater/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers ColdRipple/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers ColorfulCups/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers DarkestHour/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers EveningGlow/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers FallenLeaf/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers Grey/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers Kite/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers OneStandsOut/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers Path/contents/images/2560x1600.jpg
plasma-workspace-wallpapers usr/share/wallpapers Volna/contents/images/5120x2880.jpg
plasma-workspace-wallpapers usr/share/wallpapers summer_1am/contents/images/2560x1600.jpg
LIST
}

die() {
    echo "fetch-debian-photos.sh: $*" >&2
    exit 1
}

if [ $# -ne 1 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool not found: this script needs Debian 12 or a relative"
done

# Another program may be called convert, so ask each candidate who it is.
CONVERT=
for candidate in convert-im6.q16 magick convert; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -version 2>/dev/null | grep -q ImageMagick; then
        CONVERT=$candidate
        break
    fi
done
[ -n "$CONVERT" ] || die "ImageMagick not found; install it with: apt-get install $TOOLS"

mkdir -p "$1/licences"
out=$(cd "$1" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/vqz-photos.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# shrink SOURCE NAME GEOMETRY: one photograph to DIR/NAME.png, written aside first and then renamed.
# Lanczos in linear light keeps the brightness of fine texture; profiles and dates are dropped.
shrink() {
    if [ -s "$out/$2.png" ]; then
        return 0
    fi
    "$CONVERT" "$1[0]" -auto-orient -alpha remove -alpha off -colorspace RGB -filter Lanczos \
        -resize "$3" -colorspace sRGB -strip -depth 8 -define png:exclude-chunks=date,time \
        -quality 85 "PNG24:$work/picture.png" 2>"$work/log" ||
        die "cannot convert ${1##*/}: $(head -n 1 "$work/log")"
    mv "$work/picture.png" "$out/$2.png"
}

# long_edge PICTURE: 1024, or 5/8 of the long edge when that is smaller.
long_edge() {
    "$CONVERT" "$1[0]" -ping -format '%w %h\n' info: 2>/dev/null |
        awk '{ e = ($1 > $2 ? $1 : $2) * 5 / 8; printf "%d", (e < 1024 ? e : 1024); exit }'
}

# unpack PACKAGE: downloads it and leaves its files in $work/PACKAGE.
unpack() {
    echo "$1: downloading"
    (cd "$work" && apt-get -qq download "$1" >"$work/log" 2>&1) ||
        die "cannot download $1 (apt-get update run lately? deb lines in sources.list?): $(tail -n 1 "$work/log")"
    mkdir "$work/$1"
    dpkg-deb -x "$work/$1"_*.deb "$work/$1"
    rm -f "$work/$1"_*.deb
    cp "$work/$1/usr/share/doc/$1/copyright" "$out/licences/$1.txt"
}

unpack "$LANDSCAPES"
for picture in "$work/$LANDSCAPES/$LANDSCAPE_FOLDER"/*.jpg; do
    name=${picture##*/}
    shrink "$picture" "land-${name%.*}" '50%'
done
rm -rf "${work:?}/$LANDSCAPES"

for package in $(photographs | cut -d' ' -f1 | uniq); do
    unpack "$package"
    photographs | while read -r from folder file; do
        [ "$from" = "$package" ] || continue
        picture="$work/$package/$folder/$file"
        [ -f "$picture" ] || die "$package has no $folder/$file; is this Debian 12?"
        edge=$(long_edge "$picture")
        [ -n "$edge" ] || die "cannot read $picture"
        name=$(echo "${file%.*}" | sed 's,/contents/images/.*,,; s,[^A-Za-z0-9_-],-,g')
        shrink "$picture" "$package-$name" "${edge}x${edge}>"
    done
    rm -rf "${work:?}/$package"
done

# Size of a PNG: two big-endian words at offset 16.
for picture in "$out"/*.png; do
    od -An -j16 -N8 -tu1 "$picture" | awk '
        { print ($1 * 16777216 + $2 * 65536 + $3 * 256 + $4), ($5 * 16777216 + $6 * 65536 + $7 * 256 + $8) }'
done | awk -v dir="$out" '
    { n++; pixels += $1 * $2; e = $1 > $2 ? $1 : $2
      if (n == 1 || e < least) least = e
      if (e > most) most = e }
    END { printf "%s: %d photographs, %.1f megapixels, long edges %d to %d\n", dir, n, pixels / 1e6, least, most }'
du -sh "$out" | awk '{ print "on disk: " $1 }'

"""Draws the extension's icon, a short-axis slice of the heart in the segments' colours: python -m Testing.host.icon"""

from PySide6 import QtCore, QtGui
from Testing.host.startup import MODULE_FOLDER, REPOSITORY

from confuda.labels import LV, MYO, RV

SIZE = 128
TARGETS = (REPOSITORY / "Resources" / "ConFUDA.png", MODULE_FOLDER / "Resources" / "Icons" / "ConFUDASegment.png")
MYOCARDIUM, LEFT, RIGHT = (QtGui.QColor(*structure.color) for structure in (MYO, LV, RV))


def draw() -> QtGui.QImage:
    image = QtGui.QImage(SIZE * 4, SIZE * 4, QtGui.QImage.Format.Format_ARGB32)  # drawn large, for smooth edges
    image.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.scale(4, 4)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor("#10202e"))
    painter.drawRoundedRect(QtCore.QRectF(0, 0, SIZE, SIZE), 24, 24)
    ring = QtGui.QPainterPath()
    ring.addEllipse(QtCore.QPointF(77, 66), 40, 40)
    right = QtGui.QPainterPath()
    right.addEllipse(QtCore.QPointF(46, 64), 36, 44)
    painter.setBrush(RIGHT)
    painter.drawPath(right.subtracted(ring))
    painter.setBrush(MYOCARDIUM)
    painter.setPen(QtGui.QPen(QtGui.QColor("#10202e"), 4))
    painter.drawPath(ring)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(LEFT)
    painter.drawEllipse(QtCore.QPointF(77, 66), 22, 22)
    # An arc of late enhancement in the wall: what makes these images differ from those that the network has seen.
    painter.setPen(QtGui.QPen(QtGui.QColor("#ffe9c9"), 7, c=QtCore.Qt.PenCapStyle.RoundCap))
    painter.drawArc(QtCore.QRectF(77 - 28, 66 - 28, 56, 56), -60 * 16, 75 * 16)
    painter.end()
    smooth = QtCore.Qt.TransformationMode.SmoothTransformation
    return image.scaled(SIZE, SIZE, QtCore.Qt.AspectRatioMode.KeepAspectRatio, smooth)


if __name__ == "__main__":
    application = QtGui.QGuiApplication(["icon", "-platform", "offscreen"])
    for target in TARGETS:
        target.parent.mkdir(parents=True, exist_ok=True)
        draw().save(str(target))
        print(target.relative_to(REPOSITORY))
